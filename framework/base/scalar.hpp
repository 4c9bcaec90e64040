// A number used with a tensor in an expression.
#pragma once

#include <cstdint>
#include <type_traits>

#include "retort/framework/base/dtype.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A number used with a tensor in an expression. It does not promote the tensor's element type, except that a
/// floating-point number combined with an int64 tensor gives float32.
class Scalar {
 public:
  /// Any arithmetic type.
  template <class T>
    requires std::is_arithmetic_v<T>
  Scalar(T value)  // NOLINT: implicit by design
      : value_(static_cast<double>(value)),
        integer_(std::is_integral_v<T> ? static_cast<std::int64_t>(value) : 0),
        integral_(std::is_integral_v<T>) {}

  /// The number.
  double value() const { return value_; }
  /// True if the number was given as an integer.
  bool integral() const { return integral_; }
  /// The value as a T. A value beyond the range of int64 becomes the nearest int64, and NaN becomes 0.
  template <class T>
  T as() const {
    if constexpr (std::is_integral_v<T>) {
      if (integral_) return integer_;
    }
    return detail::convert<T>(value_);
  }

 private:
  double value_;
  std::int64_t integer_;
  bool integral_;
};

}  // namespace retort
