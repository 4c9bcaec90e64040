#include "retort/framework/kernels/softmax.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "kernel_test.hpp"

BOOST_AUTO_TEST_SUITE(kernels_softmax)

using namespace kernel_test;
namespace kernels = retort::kernels;

namespace {

/// One case of the family: [outer, classes, inner], as x86's widest type computes it.
template <class T>
class Reference {
 public:
  Reference(const std::vector<T>& x, std::int64_t classes, std::int64_t inner)
      : x_(x), classes_(classes), inner_(inner) {}

  std::size_t at(std::int64_t o, std::int64_t i, std::int64_t j) const {
    return static_cast<std::size_t>((o * classes_ + i) * inner_ + j);
  }
  /// Sets max and log of the sum of exp(x - max) of one slice.
  void select(std::int64_t o, std::int64_t j) {
    max = -infinity<double>;
    long double sum = 0;
    for (std::int64_t i = 0; i < classes_; ++i) max = std::max(max, static_cast<double>(x_[at(o, i, j)]));
    for (std::int64_t i = 0; i < classes_; ++i)
      sum += std::exp(static_cast<long double>(x_[at(o, i, j)]) - max);
    log_sum = std::log(sum);
  }
  long double log_softmax(std::size_t i) const { return (static_cast<long double>(x_[i]) - max) - log_sum; }

  double max = 0;
  long double log_sum = 0;

 private:
  const std::vector<T>& x_;
  std::int64_t classes_, inner_;
};

}  // namespace

BOOST_AUTO_TEST_CASE_TEMPLATE(the_family_stays_within_its_bounds, T, FloatTypes) {
  Worst softmax, log_softmax, logsumexp, of_softmax, of_log_softmax, of_logsumexp;
  unsigned seed = 0;
  const double bound = 4 * epsilon<T>;
  for (std::int64_t classes : {1, 2, 3, 7, 8, 9, 10, 17, 33, 63, 64, 65, 100, 1000, 1025, 5000, 300'000})
    for (std::int64_t inner : {1, 2, 8, 11}) {
      const std::int64_t outer = classes > 1000 ? 1 : 13, count = outer * classes * inner;
      if (count > 400'000) continue;
      auto x = random_values<T>(count, -8, 8, ++seed);
      for (T& v : x) v += static_cast<T>(seed % 3 == 0 ? 1e4 : seed % 3 == 1 ? -1e4 : 0);
      if (seed % 4 == 0)
        for (std::size_t i = 0; i < x.size(); ++i)
          if (i % static_cast<std::size_t>(classes * inner) >= static_cast<std::size_t>(inner) && i % 5 != 0)
            x[i] = -infinity<T>;
      const auto g = random_values<T>(count, -1, 1, seed + 1000);
      const auto each = [&](auto kernel, std::int64_t size) {
        return for_threads([&] {
          auto y = poisoned<T>(size);
          kernel(y.data());
          return y;
        });
      };
      const auto p = each([&](T* y) { kernels::softmax(x.data(), y, {outer, classes, inner}); }, count);
      const auto log_p = each(
          [&](T* y) {
            kernels::log_softmax(x.data(), y, {outer, classes, inner});
          },
          count);
      const auto total = each(
          [&](T* y) {
            kernels::logsumexp(x.data(), y, {outer, classes, inner});
          },
          outer * inner);
      const auto dp = each(
          [&](T* y) {
            kernels::softmax_backward(p.data(), g.data(), y, {outer, classes, inner});
          },
          count);
      const auto dlog = each(
          [&](T* y) {
            kernels::log_softmax_backward(log_p.data(), g.data(), y, {outer, classes, inner});
          },
          count);
      const auto dtotal = each(
          [&](T* y) {
            kernels::logsumexp_backward(x.data(), total.data(), g.data(), y, {outer, classes, inner});
          },
          count);
      auto in_place = x;
      kernels::softmax(in_place.data(), in_place.data(), {outer, classes, inner});
      BOOST_TEST(same_bits(in_place, p));

      Reference<T> reference(x, classes, inner);
      for (std::int64_t o = 0; o < outer; ++o)
        for (std::int64_t j = 0; j < inner; ++j) {
          reference.select(o, j);
          const auto slice = static_cast<std::size_t>(o * inner + j);
          logsumexp.see(static_cast<double>(total[slice]),
                        static_cast<double>(reference.max + reference.log_sum),
                        bound * (1 + std::fabs(reference.max) + std::log(static_cast<double>(classes))));
          long double dot = 0, magnitude = 0, sum = 0, sum_magnitude = 0;
          for (std::int64_t i = 0; i < classes; ++i) {
            const std::size_t k = reference.at(o, i, j);
            dot += static_cast<long double>(p[k]) * g[k];
            magnitude += std::fabs(static_cast<double>(p[k]) * static_cast<double>(g[k]));
            sum += g[k];
            sum_magnitude += std::fabs(g[k]);
          }
          for (std::int64_t i = 0; i < classes; ++i) {
            const std::size_t k = reference.at(o, i, j);
            const double y = static_cast<double>(reference.log_softmax(k)),
                         below = static_cast<double>(x[k]) - reference.max;
            const double value = static_cast<double>(std::exp(reference.log_softmax(k))),
                         upstream = static_cast<double>(g[k]);
            log_softmax.see(static_cast<double>(log_p[k]), y, bound * (1 + std::fabs(y)));
            // Below the smallest normal number a result cannot keep its relative accuracy.
            const double least = static_cast<double>(std::numeric_limits<T>::min());
            softmax.see(static_cast<double>(p[k]), value,
                        bound * (1 + std::fabs(below)) * std::max(value, least));
            of_softmax.see(
                static_cast<double>(dp[k]), static_cast<double>(p[k] * (upstream - dot)),
                bound * static_cast<double>(p[k]) * (std::fabs(upstream) + static_cast<double>(magnitude)) +
                    least);
            const double e = std::exp(static_cast<double>(log_p[k]));
            of_log_softmax.see(static_cast<double>(dlog[k]), static_cast<double>(upstream - e * sum),
                               bound * (std::fabs(upstream) + e * static_cast<double>(sum_magnitude)));
            const double log_share = static_cast<double>(x[k]) - static_cast<double>(total[slice]);
            const double want = static_cast<double>(g[slice]) * std::exp(log_share);
            of_logsumexp.see(static_cast<double>(dtotal[k]), want,
                             bound * (1 + std::fabs(log_share)) * std::max(std::fabs(want), least));
          }
        }
    }
  softmax.check("softmax");
  log_softmax.check("log_softmax");
  logsumexp.check("logsumexp");
  of_softmax.check("softmax_backward");
  of_log_softmax.check("log_softmax_backward");
  of_logsumexp.check("logsumexp_backward");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(rows_of_infinities_and_nan, T, FloatTypes) {
  for (std::int64_t classes : {1, 5, 10, 64, 70, 3000})
    for (std::int64_t inner : {1, 3}) {
      const std::int64_t count = classes * inner;
      const auto run = [&](T special, bool everywhere) {
        auto x = random_values<T>(count, -3, 3);
        if (everywhere)
          std::fill(x.begin(), x.end(), special);
        else
          for (std::int64_t j = 0; j < inner; ++j)
            x[static_cast<std::size_t>(classes / 2 * inner + j)] = special;
        std::vector<std::vector<T>> results{poisoned<T>(count), poisoned<T>(count), poisoned<T>(inner),
                                            poisoned<T>(count)};
        std::fill(results[2].begin(), results[2].end(), T{7});
        kernels::softmax(x.data(), results[0].data(), {1, classes, inner});
        kernels::log_softmax(x.data(), results[1].data(), {1, classes, inner});
        kernels::logsumexp(x.data(), results[2].data(), {1, classes, inner});
        const std::vector<T> g(x.size(), T{1});
        kernels::logsumexp_backward(x.data(), results[2].data(), g.data(), results[3].data(),
                                    {1, classes, inner});
        return results;
      };
      const auto all_nan = [](const std::vector<T>& y) {
        return std::all_of(y.begin(), y.end(), [](T v) { return v != v; });
      };
      const auto all = [](const std::vector<T>& y, T value) {
        return std::all_of(y.begin(), y.end(), [=](T v) { return v == value; });
      };

      const auto nothing = run(-infinity<T>, true);
      BOOST_TEST(all_nan(nothing[0]));
      BOOST_TEST(all_nan(nothing[1]));
      BOOST_TEST(all(nothing[2], -infinity<T>));
      BOOST_TEST(all_nan(nothing[3]));
      const auto endless = run(infinity<T>, false);
      BOOST_TEST(all_nan(endless[0]));
      BOOST_TEST(all_nan(endless[1]));
      BOOST_TEST(all(endless[2], infinity<T>));
      const auto unknown = run(not_a_number<T>, false);
      BOOST_TEST(all_nan(unknown[0]));
      BOOST_TEST(all_nan(unknown[1]));
      BOOST_TEST(all_nan(unknown[2]));
    }
  // +inf and NaN together, in one row and far apart.
  std::vector<T> x(3000, T{1});
  x[10] = infinity<T>;
  x[2900] = not_a_number<T>;
  T y = 0;
  kernels::logsumexp(x.data(), &y, {1, 3000, 1});
  BOOST_TEST(std::isnan(y));
  kernels::logsumexp<T>(nullptr, &y, {1, 0, 1});
  BOOST_TEST(y == -infinity<T>);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_class_of_probability_zero_takes_no_part_backward, T, FloatTypes) {
  for (std::int64_t classes : {4, 100}) {
    std::vector<T> y(static_cast<std::size_t>(classes), T{0}), g(y.size(), infinity<T>),
        dx(y.size(), not_a_number<T>);
    y[1] = static_cast<T>(0.25);
    y[2] = static_cast<T>(0.75);
    g[1] = 1;
    g[2] = 2;
    kernels::softmax_backward(y.data(), g.data(), dx.data(), {1, classes, 1});
    BOOST_TEST(dx[0] == T{0});
    BOOST_TEST(dx[1] == static_cast<T>(0.25 * (1 - 1.75)));
    BOOST_TEST(dx[2] == static_cast<T>(0.75 * (2 - 1.75)));
    BOOST_TEST(dx[3] == T{0});
  }
}

// A sum that grows over blocks: the maximum is last, first, or approached in steps.
BOOST_AUTO_TEST_CASE_TEMPLATE(a_long_row_may_rise_or_fall, T, FloatTypes) {
  const std::int64_t n = 20'000;
  for (double slope : {1e-3, -1e-3, 0.5, -0.5, 100.0}) {
    std::vector<T> x(n), p(n), log_p(n);
    for (std::int64_t i = 0; i < n; ++i)
      x[static_cast<std::size_t>(i)] = static_cast<T>(slope * static_cast<double>(i / 500) - 20);
    x[0] = x[3] = -infinity<T>;
    kernels::softmax(x.data(), p.data(), {1, n, 1});
    kernels::log_softmax(x.data(), log_p.data(), {1, n, 1});
    Reference<T> reference(x, n, 1);
    reference.select(0, 0);
    Worst softmax, log_softmax;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double y = static_cast<double>(reference.log_softmax(i)), value = std::exp(y);
      log_softmax.see(static_cast<double>(log_p[i]), y, 4 * epsilon<T> * (1 + std::fabs(y)));
      softmax.see(static_cast<double>(p[i]), value,
                  4 * epsilon<T> * (1 + std::fabs(y)) *
                      std::max(value, static_cast<double>(std::numeric_limits<T>::min())));
    }
    softmax.check("softmax of a slope");
    log_softmax.check("log_softmax of a slope");
  }
}

// The gradient of logsumexp, for y = 0 and g = 1, is exp itself.
BOOST_AUTO_TEST_CASE_TEMPLATE(exp_is_right_to_an_ulp_and_at_its_ends, T, FloatTypes) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  std::mt19937_64 generator(1);
  auto x = random_values<T>(200'000, sizeof(T) == 4 ? -104 : -746, sizeof(T) == 4 ? 89 : 710);
  for (std::size_t i = 0; i < x.size(); i += 4) x[i] = std::bit_cast<T>(static_cast<Bits>(generator()));
  for (T special : {T{0}, infinity<T>, -infinity<T>, not_a_number<T>, std::numeric_limits<T>::denorm_min(),
                    std::numeric_limits<T>::max()})
    x.push_back(special);
  const T zero = 0, one = 1;
  std::vector<T> y(x.size());
  kernels::logsumexp_backward(x.data(), &zero, &one, y.data(), {1, static_cast<std::int64_t>(x.size()), 1});
  Worst worst;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double want = std::exp(static_cast<long double>(x[i]));
    const T rounded = static_cast<T>(want);
    if (std::isnan(want) || std::isinf(rounded))
      worst.see(static_cast<double>(y[i]), static_cast<double>(rounded), 1);
    else {
      const T ulp = std::nextafter(rounded, infinity<T>) - rounded;
      worst.see(static_cast<double>((y[i] - want) / ulp), 0, 1.25);  // 1.25 ulp where nothing is fused
    }
  }
  worst.check("exp");
}

BOOST_AUTO_TEST_SUITE_END()
