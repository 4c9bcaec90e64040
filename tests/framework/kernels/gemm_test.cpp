#include "retort/framework/kernels/gemm.hpp"

#include <thread>

#include "kernel_test.hpp"
#include "retort/framework/base/threads.hpp"
#include "tests_support.hpp"

BOOST_AUTO_TEST_SUITE(kernels_gemm)

using namespace kernel_test;
namespace kernels = retort::kernels;

namespace {

struct Case {
  std::int64_t m, n, k;
};
const std::vector<Case> cases{{1, 1, 1},     {1, 10, 32},    {1, 64, 64},    {1, 300, 7},     {2, 17, 33},
                              {3, 5, 100},   {4, 8, 9},      {5, 33, 3},     {6, 16, 16},     {7, 31, 300},
                              {10, 32, 32},  {13, 13, 600},  {32, 10, 32},   {33, 65, 17},    {128, 10, 40},
                              {100, 100, 1}, {10, 900, 20},  {3000, 10, 60}, {200, 260, 180}, {600, 50, 400},
                              {790, 80, 30}, {25, 100, 778}, {2100, 70, 70}, {130, 200, 600}, {400, 70, 200},
                              {9, 11, 300},  {40, 15, 600}};

}  // namespace

BOOST_AUTO_TEST_CASE_TEMPLATE(gemm_equals_the_triple_loop, T, FloatTypes) {
  Worst worst;
  unsigned seed = 0;
  for (const auto& [m, n, k] : cases)
    for (int transposes = 0; transposes < 4; ++transposes) {
      const bool ta = transposes & 1, tb = transposes & 2;
      const double alpha = ++seed % 2 ? 1 : -1.5, beta = seed % 3 == 0 ? 0.5 : seed % 3 == 1 ? 0 : 1;
      const std::int64_t lda = (ta ? m : k) + 2, ldb = (tb ? k : n) + 3, ldc = n + 1;
      const auto a = random_values<T>((ta ? k : m) * lda, -1, 1, seed),
                 b = random_values<T>((tb ? n : k) * ldb, -1, 1, seed + 100);
      const auto before = beta == 0 ? poisoned<T>(m * ldc) : random_values<T>(m * ldc, -1, 1, seed + 200);
      const auto c = for_threads([&, m = m, n = n, k = k] {
        auto result = before;
        kernels::gemm(ta, tb, m, n, k, alpha, a.data(), lda, b.data(), ldb, beta, result.data(), ldc);
        return result;
      });
      for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
          const auto at = static_cast<std::size_t>(i * ldc + j);
          double sum = 0, magnitude = 0;
          for (std::int64_t p = 0; p < k; ++p) {
            const double v =
                static_cast<double>(a[static_cast<std::size_t>(ta ? p * lda + i : i * lda + p)]) *
                static_cast<double>(b[static_cast<std::size_t>(tb ? j * ldb + p : p * ldb + j)]);
            sum += v;
            magnitude += std::fabs(v);
          }
          const double old = beta == 0 ? 0 : beta * static_cast<double>(before[at]);
          worst.see(static_cast<double>(c[at]), alpha * sum + old,
                    epsilon<T> * (std::sqrt(static_cast<double>(k)) + 2) *
                        (std::fabs(alpha) * magnitude + std::fabs(old)));
        }
        const auto behind = static_cast<std::size_t>(i * ldc + n);
        BOOST_TEST(std::memcmp(&c[behind], &before[behind], sizeof(T)) == 0);
      }
    }
  worst.check("gemm");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(linear_equals_the_triple_loop, T, FloatTypes) {
  Worst worst;
  unsigned seed = 0;
  for (const auto& [rows, out, in] : cases)
    for (bool with_bias : {false, true}) {
      const auto x = random_values<T>(rows * in, -1, 1, ++seed),
                 w = random_values<T>(out * in, -1, 1, seed + 100),
                 bias = random_values<T>(out, -1, 1, seed + 200);
      const auto y = for_threads([&, rows = rows, out = out, in = in] {
        auto result = poisoned<T>(rows * out);
        kernels::linear(x.data(), w.data(), with_bias ? bias.data() : nullptr, result.data(), rows, in, out);
        return result;
      });
      for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < out; ++j) {
          double sum = with_bias ? static_cast<double>(bias[static_cast<std::size_t>(j)]) : 0,
                 magnitude = std::fabs(sum);
          for (std::int64_t p = 0; p < in; ++p) {
            const double v = static_cast<double>(x[static_cast<std::size_t>(i * in + p)]) *
                             static_cast<double>(w[static_cast<std::size_t>(j * in + p)]);
            sum += v;
            magnitude += std::fabs(v);
          }
          worst.see(static_cast<double>(y[static_cast<std::size_t>(i * out + j)]), sum,
                    epsilon<T> * (std::sqrt(static_cast<double>(in)) + 2) * magnitude);
        }
    }
  worst.check("linear");
}

// Beyond 2^29 multiplications a BLAS that knows the processor computes them.
BOOST_AUTO_TEST_CASE(very_large_products_equal_sums) {
  constexpr std::int64_t m = 1024, n = 640, k = 832;
  static_assert(m * n * k >= std::int64_t{1} << 29);
  const auto a = random_values<float>(m * k, -1, 1, 1), b = random_values<float>(k * n, -1, 1, 2),
             bias = random_values<float>(n, -1, 1, 3);
  Worst worst;
  const auto check = [&](const std::vector<float>& c, bool ta, bool tb, const float* added) {
    for (std::int64_t i = 0; i < m; i += 93)
      for (std::int64_t j = 0; j < n; j += 13) {
        double sum = added == nullptr ? 0 : static_cast<double>(added[j]), magnitude = std::fabs(sum);
        for (std::int64_t p = 0; p < k; ++p) {
          const double v = static_cast<double>(a[static_cast<std::size_t>(ta ? p * m + i : i * k + p)]) *
                           static_cast<double>(b[static_cast<std::size_t>(tb ? j * k + p : p * n + j)]);
          sum += v;
          magnitude += std::fabs(v);
        }
        worst.see(static_cast<double>(c[static_cast<std::size_t>(i * n + j)]), sum,
                  epsilon<float> * (std::sqrt(static_cast<double>(k)) + 2) * magnitude);
      }
  };
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      const auto c = for_threads([&] {
        auto result = poisoned<float>(m * n);
        kernels::gemm(ta, tb, m, n, k, 1, a.data(), ta ? m : k, b.data(), tb ? k : n, 0, result.data(), n);
        return result;
      });
      check(c, ta, tb, nullptr);
    }
  const auto y = for_threads([&] {
    auto result = poisoned<float>(m * n);
    kernels::linear(a.data(), b.data(), bias.data(), result.data(), m, k, n);
    return result;
  });
  check(y, false, true, bias.data());
  worst.check("very large products");
}

BOOST_AUTO_TEST_CASE_TEMPLATE(empty_products, T, FloatTypes) {
  const std::vector<T> bias{1, 2, 3};
  auto y = poisoned<T>(6);
  kernels::linear<T>(nullptr, nullptr, bias.data(), y.data(), 2, 0, 3);
  BOOST_TEST(y == (std::vector<T>{1, 2, 3, 1, 2, 3}));
  kernels::linear<T>(nullptr, nullptr, nullptr, y.data(), 2, 0, 3);
  BOOST_TEST(y == std::vector<T>(6, T{0}));
  std::vector<T> c{1, 2, 3, 4};
  kernels::gemm<T>(false, false, 2, 2, 0, 1, nullptr, 1, nullptr, 2, 0.5, c.data(), 2);
  BOOST_TEST(c == (std::vector<T>{0.5, 1, 1.5, 2}));
  c.assign(4, not_a_number<T>);
  kernels::gemm<T>(false, false, 2, 2, 0, 1, nullptr, 1, nullptr, 2, 0, c.data(), 2);
  BOOST_TEST(c == std::vector<T>(4, T{0}));
  kernels::gemm<T>(false, false, 0, 2, 3, 1, nullptr, 3, nullptr, 2, 0, c.data(), 2);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(fetching_the_operands_of_the_next_product_changes_no_bit, T, FloatTypes) {
  for (const auto& [m, n, k] : cases) {
    const auto a = random_values<T>(m * k, -1, 1, 1), b = random_values<T>(k * n, -1, 1, 2);
    const auto with = [&, m = m, n = n, k = k](const kernels::Upcoming& upcoming) {
      auto c = poisoned<T>(m * n);
      kernels::gemm(false, true, m, n, k, 1, a.data(), k, b.data(), k, 0, c.data(), n, upcoming);
      return c;
    };
    const auto bytes = static_cast<std::int64_t>(a.size() * sizeof(T));
    BOOST_TEST(same_bits(with({}), with({{{a.data(), bytes}, {nullptr, 0}, {a.data(), 1}}})));
  }
}

// Strips of a product may be narrow or have few rows where the product is not and has not.
BOOST_AUTO_TEST_CASE_TEMPLATE(the_number_of_threads_changes_no_bit, T, FloatTypes) {
  const int threads = retort::get_num_threads();
  for (const auto& [m, n, k] : {Case{129, 16, 2049},
                                {784, 64, 129},
                                {100, 200, 784},
                                {200, 130, 700},
                                {40, 400, 700},
                                {1000, 30, 784},
                                {30, 784, 1000}}) {
    if (retort::tests::sanitized && m * n * k > 8'000'000) continue;
    const auto a = random_values<T>(m * k, -1, 1, 1), b = random_values<T>(k * n, -1, 1, 2);
    for (const bool transpose_a : {false, true})
      for (const bool transpose_b : {false, true}) {
        const auto with = [&, m = m, n = n, k = k](int count) {
          retort::set_num_threads(count);
          auto c = poisoned<T>(m * n);
          kernels::gemm(transpose_a, transpose_b, m, n, k, 1, a.data(), transpose_a ? m : k, b.data(),
                        transpose_b ? k : n, 0, c.data(), n);
          return c;
        };
        const auto one = with(1);
        BOOST_TEST((same_bits(one, with(2)) && same_bits(one, with(4))),
                   m << " x " << n << " x " << k << ", transposed " << transpose_a << transpose_b);
      }
  }
  retort::set_num_threads(threads);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(nan_and_infinity_pass, T, FloatTypes) {
  for (std::int64_t rows : {1, 4, 9}) {
    std::vector<T> x(static_cast<std::size_t>(rows * 5), T{1}), w(3 * 5, T{1}),
        y(static_cast<std::size_t>(rows * 3));
    x[2] = not_a_number<T>;
    w[1] = infinity<T>;
    kernels::linear<T>(x.data(), w.data(), nullptr, y.data(), rows, 5, 3);
    BOOST_TEST(std::isnan(y[0]));
    BOOST_TEST(std::isnan(y[2]));
    if (rows > 1) BOOST_TEST(y[3] == infinity<T>);
    if (rows > 1) BOOST_TEST(y[4] == T{5});
  }
}

// Very large products go to a BLAS, some builds of which are not made for several threads at once.
BOOST_AUTO_TEST_CASE(products_of_several_threads_at_once_do_not_meet) {
  struct Size {
    std::int64_t m, n, k;
    int times;
  };
  for (const auto& [m, n, k, times] : {Size{128, 64, 784, 500}, Size{1024, 640, 832, 4}}) {
    std::vector<int> wrong(4, 0);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < wrong.size(); ++t)
      threads.emplace_back([&wrong, t, m = m, n = n, k = k, times = times] {
        const auto a = random_values<float>(m * k, -1, 1, t), b = random_values<float>(n * k, -1, 1, t + 10);
        const auto product = [&] {
          auto c = poisoned<float>(m * n);
          kernels::gemm(false, true, m, n, k, 1, a.data(), k, b.data(), k, 0, c.data(), n);
          return c;
        };
        const auto first = product();
        for (int i = 0; i < times; ++i) wrong[t] += !same_bits(product(), first);
      });
    for (std::thread& thread : threads) thread.join();
    for (const int count : wrong) BOOST_TEST(count == 0);
  }
}

BOOST_AUTO_TEST_SUITE_END()
