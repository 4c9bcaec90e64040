#include "retort/framework/kernels/reduce.hpp"

#include "kernel_test.hpp"

BOOST_AUTO_TEST_SUITE(kernels_reduce)

using namespace kernel_test;
namespace kernels = retort::kernels;

namespace {

/// [outer, n, inner] of values some of which are equal, and for floating types some NaN if asked for.
template <class T>
std::vector<T> input(std::int64_t count, bool with_nan, unsigned seed) {
  std::vector<T> x = random_values<T>(count, -50, 50, seed);
  for (std::size_t i = 0; i < x.size(); i += 3) x[i] = static_cast<T>(static_cast<std::int64_t>(x[i]) % 5);
  if constexpr (std::is_floating_point_v<T>)
    for (std::size_t i = 5; i < x.size() && with_nan; i += 97) x[i] = not_a_number<T>;
  return x;
}

}  // namespace

BOOST_AUTO_TEST_CASE_TEMPLATE(each_equals_its_plain_loop, T, AllTypes) {
  Worst sums, variances;
  unsigned seed = 0;
  for (std::int64_t outer : {1, 3})
    for (std::int64_t n : {1, 3, 8, 17, 33, 100, 1000})
      for (std::int64_t inner : {1, 2, 7, 8, 9, 33, 300}) {
        ++seed;
        const auto x = input<T>(outer * n * inner, seed % 2 == 0, seed);
        auto sum = poisoned<T>(outer * inner), high = sum, low = sum, spread = sum;
        auto at = poisoned<std::int64_t>(outer * inner), at_least = at;
        kernels::sum(x.data(), sum.data(), {outer, n, inner}, 0.25);
        kernels::amax(x.data(), high.data(), {outer, n, inner});
        kernels::amin(x.data(), low.data(), {outer, n, inner});
        kernels::argmax(x.data(), at.data(), {outer, n, inner});
        kernels::argmin(x.data(), at_least.data(), {outer, n, inner});
        if constexpr (std::is_floating_point_v<T>)
          kernels::variance(x.data(), spread.data(), {outer, n, inner}, static_cast<double>(n));
        for (std::int64_t o = 0; o < outer; ++o)
          for (std::int64_t j = 0; j < inner; ++j) {
            double total = 0, magnitude = 0, squares = 0;
            std::int64_t best = 0, least = 0;
            const auto value = [&](std::int64_t i) {
              return x[static_cast<std::size_t>((o * n + i) * inner + j)];
            };
            for (std::int64_t i = 0; i < n; ++i) {
              const T v = value(i);
              total += static_cast<double>(v);
              magnitude += std::fabs(static_cast<double>(v));
              if (v > value(best) || (v != v && value(best) == value(best))) best = i;
              if (v < value(least) || (v != v && value(least) == value(least))) least = i;
            }
            for (std::int64_t i = 0; i < n; ++i)
              squares += std::pow(static_cast<double>(value(i)) - total / static_cast<double>(n), 2);
            const auto to = static_cast<std::size_t>(o * inner + j);
            if constexpr (std::is_floating_point_v<T>) {
              sums.see(static_cast<double>(sum[to]), total * 0.25, epsilon<T> * magnitude);
              variances.see(static_cast<double>(spread[to]), squares / static_cast<double>(n),
                            (4 * epsilon<T> + 1e-16 * static_cast<double>(n)) *
                                (squares / static_cast<double>(n) + 1e-9));
            } else {
              BOOST_TEST(static_cast<double>(sum[to]) == total);
            }
            const auto same = [](T a, T b) { return a == b || (a != a && b != b); };
            BOOST_TEST(same(high[to], value(best)));
            BOOST_TEST(same(low[to], value(least)));
            BOOST_TEST(at[to] == best);
            BOOST_TEST(at_least[to] == least);
          }
      }
  sums.check("sum");
  variances.check("variance");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(sums_of_long_columns_equal_the_plain_loop, T, AllTypes) {
  constexpr std::int64_t n = 1100;
  Worst worst;
  for (std::int64_t inner : {70, 1024, 1300}) {
    const auto x = input<T>(2 * n * inner, false, 7);
    const auto sums = for_threads([&] {
      auto y = poisoned<T>(2 * inner);
      kernels::sum(x.data(), y.data(), {2, n, inner}, 1);
      return y;
    });
    for (std::int64_t at = 0; at < 2 * inner; ++at) {
      double total = 0, magnitude = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const auto v =
            static_cast<double>(x[static_cast<std::size_t>((at / inner * n + i) * inner + at % inner)]);
        total += v;
        magnitude += std::fabs(v);
      }
      worst.see(static_cast<double>(sums[static_cast<std::size_t>(at)]), total, 4 * epsilon<T> * magnitude);
    }
  }
  worst.check("sum of long columns");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(centred_channels_equal_their_plain_loop, T, FloatTypes) {
  Worst worst;
  unsigned seed = 0;
  for (std::int64_t groups : {1, 2})
    for (std::int64_t batch : {1, 2, 5})
      for (std::int64_t channels : {1, 3, 300})
        for (std::int64_t inner : {1, 2, 17, 100}) {
          const kernels::Channels layout{groups, batch, channels, inner};
          auto x = random_values<T>(layout.size(), -1, 1, ++seed);
          for (T& v : x) v += static_cast<T>(1000);
          const auto y = for_threads([&] {
            auto out = poisoned<T>(layout.size());
            kernels::centre(x.data(), out.data(), layout);
            return out;
          });
          for (std::int64_t g = 0; g < groups; ++g)
            for (std::int64_t c = 0; c < channels; ++c) {
              const auto at = [&](std::int64_t b, std::int64_t i) {
                return static_cast<std::size_t>(((g * batch + b) * channels + c) * inner + i);
              };
              double total = 0;
              for (std::int64_t b = 0; b < batch; ++b)
                for (std::int64_t i = 0; i < inner; ++i) total += static_cast<double>(x[at(b, i)]);
              total /= static_cast<double>(batch * inner);
              for (std::int64_t b = 0; b < batch; ++b)
                for (std::int64_t i = 0; i < inner; ++i)
                  worst.see(static_cast<double>(y[at(b, i)]), static_cast<double>(x[at(b, i)]) - total,
                            epsilon<T> + 1e-11);
            }
        }
  worst.check("centred");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(sums_of_channels_equal_their_plain_loop, T, AllTypes) {
  Worst worst;
  unsigned seed = 0;
  for (std::int64_t groups : {1, 3})
    for (std::int64_t batch : {1, 5, 40})
      for (std::int64_t channels : {1, 63, 64, 65, 130})
        for (std::int64_t inner : {1, 7, 16, 33, 49}) {
          const kernels::Channels layout{groups, batch, channels, inner};
          const auto x = input<T>(layout.size(), false, ++seed);
          const double scale = std::is_floating_point_v<T> ? 0.25 : 1;
          const auto y = for_threads([&] {
            auto out = poisoned<T>(groups * channels);
            kernels::sum_channels(x.data(), out.data(), layout, scale);
            return out;
          });
          for (std::int64_t g = 0; g < groups; ++g)
            for (std::int64_t c = 0; c < channels; ++c) {
              double total = 0, magnitude = 0;
              for (std::int64_t b = 0; b < batch; ++b)
                for (std::int64_t i = 0; i < inner; ++i) {
                  const auto at = static_cast<std::size_t>(((g * batch + b) * channels + c) * inner + i);
                  total += static_cast<double>(x[at]);
                  magnitude += std::fabs(static_cast<double>(x[at]));
                }
              const double got = static_cast<double>(y[static_cast<std::size_t>(g * channels + c)]);
              if constexpr (std::is_floating_point_v<T>)
                worst.see(got, scale * total, epsilon<T> * magnitude);
              else
                BOOST_TEST(got == total);
            }
        }
  worst.check("sum of channels");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(nothing_sums_to_zero, T, AllTypes) {
  for (std::int64_t inner : {1, 5}) {
    auto y = poisoned<T>(2 * inner);
    kernels::sum<T>(nullptr, y.data(), {2, 0, inner});
    for (T value : y) BOOST_TEST(value == T{0});
  }
}

BOOST_AUTO_TEST_CASE(ten_million_floats_sum_within_their_bound) {
  const std::int64_t n = 10'000'000;
  for (double low : {-1.0, 0.0}) {
    const auto x = random_values<float>(n, low, 1);
    double want = 0, magnitude = 0;
    for (float v : x) {
      want += static_cast<double>(v);
      magnitude += std::fabs(static_cast<double>(v));
    }
    const auto row = for_threads([&] {
      auto y = poisoned<float>(1);
      kernels::sum(x.data(), y.data(), {1, n, 1});
      return y;
    });
    const auto columns = for_threads([&] {
      auto y = poisoned<float>(2);
      kernels::sum(x.data(), y.data(), {1, n / 2, 2});
      return y;
    });
    Worst worst;
    worst.see(static_cast<double>(row[0]), want, 4 * epsilon<float> * magnitude);
    worst.see(static_cast<double>(columns[0]) + static_cast<double>(columns[1]), want,
              4 * epsilon<float> * magnitude);
    worst.check("sum of 10^7");
  }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(power_sums, T, FloatTypes) {
  for (std::int64_t n : {0, 1, 7, 17, 1000, 200'000}) {
    auto x = random_values<T>(n, -3, 2);
    for (double p : {1.0, 2.0, 3.0, infinity<double>}) {
      double want = 0;
      for (T v : x) {
        const double magnitude = std::fabs(static_cast<double>(v));
        want = p == infinity<double> ? std::max(want, magnitude) : want + std::pow(magnitude, p);
      }
      const auto got = for_threads([&] { return std::vector<double>{kernels::power_sum(x.data(), n, p)}; });
      BOOST_TEST(std::fabs(got[0] - want) <= 1e-12 * want);
    }
    if (n == 0) continue;
    x[static_cast<std::size_t>(n / 2)] = not_a_number<T>;
    for (double p : {1.0, 2.0, 3.0, infinity<double>})
      BOOST_TEST(std::isnan(kernels::power_sum(x.data(), n, p)));
  }
  const std::vector<T> huge(10, static_cast<T>(1e30));
  BOOST_TEST(kernels::power_sum(huge.data(), 10, 2) > 9e60);
}

BOOST_AUTO_TEST_SUITE_END()
