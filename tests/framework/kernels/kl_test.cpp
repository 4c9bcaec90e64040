#include "retort/framework/kernels/kl.hpp"

#include <algorithm>
#include <limits>

#include "kernel_test.hpp"

BOOST_AUTO_TEST_SUITE(kernels_kl)

using namespace kernel_test;
namespace kernels = retort::kernels;

namespace {

struct Term {
  double value, dx, dt;
  double magnitude, dx_magnitude, dt_magnitude;  // what an error is measured against
};

/// The definition, word for word: API.md, "KLDivLoss, exactly".
Term term(double x, double t, double g, bool log_target) {
  const bool none = log_target ? t == -infinity<double> : t == 0;
  const double p = log_target ? std::exp(t) : t, log_p = log_target ? t : std::log(t);
  Term result{p * (log_p - x), -g * p, g * (log_target ? p : 1) * (log_p - x + 1), 0, 0, 0};
  if (none) result = {std::isnan(x) ? x : 0, 0, std::isnan(x) ? x : 0, 0, 0, 0};
  const double distance = std::fabs(log_p) + std::fabs(x), relative = log_target ? 1 + std::fabs(t) : 1;
  result.magnitude = std::fabs(p) * distance;
  result.dx_magnitude = std::fabs(result.dx) * relative;
  result.dt_magnitude = std::fabs(g) * (log_target ? p : 1) * (1 + distance) * relative;
  return result;
}

}  // namespace

BOOST_AUTO_TEST_CASE_TEMPLATE(terms_sums_and_gradients, T, FloatTypes) {
  Worst terms, sums, of_input, of_target;
  const double bound = 4 * epsilon<T>, least = static_cast<double>(std::numeric_limits<T>::min());
  auto lengths = sizes;
  lengths.push_back(100'000);
  for (bool log_target : {false, true})
    for (std::int64_t n : lengths)
      for (bool common : {true, false}) {
        const auto x = random_values<T>(n, -12, 0, 1),
                   t = log_target ? random_values<T>(n, -12, 0, 2) : random_values<T>(n, 0, 1, 2);
        const auto g = random_values<T>(common ? 1 : n, -1, 1, 3);
        const auto out = for_threads([&] {
          auto result = poisoned<T>(n);
          kernels::kl_terms(x.data(), t.data(), result.data(), n, log_target);
          return result;
        });
        const auto sum = for_threads([&] {
          bool positive = true;
          const std::vector<double> result{kernels::kl_sum(x.data(), t.data(), n, log_target, &positive)};
          BOOST_TEST(!positive);
          return result;
        });
        const auto both = for_threads([&] {
          auto result = poisoned<T>(2 * n);
          kernels::kl_backward(x.data(), t.data(), g.data(), common ? 1 : n, 0.5, result.data(),
                               result.data() + n, n, log_target);
          return result;
        });
        auto dx = poisoned<T>(n), dt = poisoned<T>(n);
        kernels::kl_backward<T>(x.data(), t.data(), g.data(), common ? 1 : n, 0.5, dx.data(), nullptr, n,
                                log_target);
        kernels::kl_backward<T>(x.data(), t.data(), g.data(), common ? 1 : n, 0.5, nullptr, dt.data(), n,
                                log_target);
        BOOST_TEST(same_bits(dx, std::vector<T>(both.begin(), both.begin() + n)));
        BOOST_TEST(same_bits(dt, std::vector<T>(both.begin() + n, both.end())));
        double total = 0, magnitude = 0;
        for (std::size_t i = 0; i < out.size(); ++i) {
          const T upstream = g[common ? 0 : i] * static_cast<T>(0.5);
          const Term want = term(static_cast<double>(x[i]), static_cast<double>(t[i]),
                                 static_cast<double>(upstream), log_target);
          terms.see(static_cast<double>(out[i]), want.value, bound * want.magnitude + least);
          of_input.see(static_cast<double>(dx[i]), want.dx, bound * want.dx_magnitude + least);
          of_target.see(static_cast<double>(dt[i]), want.dt, bound * want.dt_magnitude + least);
          total += want.value;
          magnitude += want.magnitude;
        }
        sums.see(sum[0], total, bound * magnitude + 1e-15 * magnitude * static_cast<double>(n));
      }
  terms.check("kl_terms");
  sums.check("kl_sum");
  of_input.check("kl_backward, input");
  of_target.check("kl_backward, target");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(every_pair_of_edges, T, FloatTypes) {
  const T tiny = std::numeric_limits<T>::denorm_min(), small = std::numeric_limits<T>::min() / 3;
  const std::vector<T> edges{0,    -T{0}, 1, -1, infinity<T>, -infinity<T>, not_a_number<T>,
                             tiny, small, 2, -2, 10000,       -10000,       static_cast<T>(0.5)};
  Worst worst;
  for (bool log_target : {false, true}) {
    std::vector<T> x, t;
    for (T a : edges)
      for (T b : edges) {
        x.push_back(a);
        t.push_back(b);
      }
    const auto n = static_cast<std::int64_t>(x.size());
    auto out = poisoned<T>(n), dx = out, dt = out;
    const T g = 3;
    kernels::kl_terms(x.data(), t.data(), out.data(), n, log_target);
    kernels::kl_backward(x.data(), t.data(), &g, 1, 1.0, dx.data(), dt.data(), n, log_target);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const Term want = term(static_cast<double>(x[i]), static_cast<double>(t[i]), 3, log_target);
      // A value beyond the range of T becomes an infinity.
      const auto in_range = [](double v) { return static_cast<double>(static_cast<T>(v)); };
      const auto bound = [](double magnitude) {
        return std::isfinite(magnitude)
                   ? 4 * epsilon<T> * magnitude + static_cast<double>(std::numeric_limits<T>::min())
                   : 1;
      };
      worst.see(static_cast<double>(out[i]), in_range(want.value), bound(want.magnitude));
      worst.see(static_cast<double>(dx[i]), in_range(want.dx), bound(want.dx_magnitude));
      worst.see(static_cast<double>(dt[i]), in_range(want.dt), bound(want.dt_magnitude));
      bool positive = false;
      const double sum = kernels::kl_sum(&x[i], &t[i], 1, log_target, &positive);
      worst.see(sum, in_range(want.value), bound(want.magnitude));
      BOOST_TEST(positive == (x[i] > T(1e-5)));
    }
  }
  worst.check("edges");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(one_nan_among_many_is_seen, T, FloatTypes) {
  for (bool log_target : {false, true})
    for (std::int64_t n : {1, 9, 1000, 50'000}) {
      auto x = random_values<T>(n, -3, -1);
      std::vector<T> t(x.size(), log_target ? -infinity<T> : T{0});  // not even where the target is 0 hidden
      x[static_cast<std::size_t>(n / 2)] = not_a_number<T>;
      BOOST_TEST(std::isnan(kernels::kl_sum(x.data(), t.data(), n, log_target, static_cast<bool*>(nullptr))));
      x[static_cast<std::size_t>(n / 2)] = T{1};
      bool positive = false;
      BOOST_TEST(kernels::kl_sum(x.data(), t.data(), n, log_target, &positive) == 0);
      BOOST_TEST(positive);
    }
}

BOOST_AUTO_TEST_SUITE_END()
