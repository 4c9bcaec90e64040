// Shared by the kernel tests: inputs, poisoned outputs, and the check that threads do not change a bit.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <tuple>
#include <type_traits>
#include <vector>

#include "retort/framework/base/threads.hpp"

namespace kernel_test {

using FloatTypes = std::tuple<float, double>;
using AllTypes = std::tuple<float, double, std::int64_t>;

/// Lengths around those of registers and blocks.
inline const std::vector<std::int64_t> sizes{0, 1, 3, 7, 8, 9, 17, 33, 100, 1000};

template <class T>
inline constexpr double epsilon = static_cast<double>(std::numeric_limits<T>::epsilon());
template <class T>
inline constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();
template <class T>
inline constexpr T infinity = std::numeric_limits<T>::infinity();

template <class T>
std::vector<T> random_values(std::int64_t n, double low, double high, unsigned seed = 1) {
  std::mt19937_64 generator(seed);
  std::uniform_real_distribution<double> distribution(low, high);
  std::vector<T> values(static_cast<std::size_t>(n));
  for (T& value : values) value = static_cast<T>(distribution(generator));
  return values;
}

/// An output filled with a value that every kernel must overwrite.
template <class T>
std::vector<T> poisoned(std::int64_t n) {
  return std::vector<T>(static_cast<std::size_t>(n),
                        std::is_floating_point_v<T> ? not_a_number<T> : static_cast<T>(-77));
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// Sets the number of threads until the end of the scope.
class Threads {
 public:
  explicit Threads(int count) : before_(retort::get_num_threads()) { retort::set_num_threads(count); }
  ~Threads() { retort::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

/// Returns the result of run(), after checking that it has the same bits under 1, 2 and 4 threads.
template <class F>
auto for_threads(F run) {
  Threads one(1);
  const auto result = run();
  for (int count : {2, 4}) {
    Threads more(count);
    BOOST_TEST(same_bits(run(), result), "other bits with " << count << " threads");
  }
  return result;
}

/// The worst of many errors, each relative to its bound.
class Worst {
 public:
  /// NaN must meet NaN, infinity the same infinity.
  void see(double got, double want, double bound) {
    double ratio = std::fabs(got - want) / bound;
    if (std::isnan(want) || std::isinf(want))
      ratio = (std::isnan(want) ? std::isnan(got) : got == want) ? 0 : 1e300;
    if (got == want) ratio = 0;
    if (!(ratio <= ratio_)) {
      ratio_ = std::isnan(ratio) ? 1e300 : ratio;
      got_ = got;
      want_ = want;
    }
  }
  void check(const char* what) const {
    BOOST_TEST_MESSAGE(what << ": worst error " << ratio_ << " of its bound");
    BOOST_TEST(ratio_ <= 1,
               what << ": got " << got_ << ", want " << want_ << ", " << ratio_ << " of the bound");
  }

 private:
  double ratio_ = 0, got_ = 0, want_ = 0;
};

}  // namespace kernel_test
