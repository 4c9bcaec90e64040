// Checks of options. Internal.
#pragma once

#include <cmath>

#include "retort/framework/base/error.hpp"

namespace retort::detail {

/// Throws: ValueError unless `fits`; `range` completes "it must be …". A string is quoted.
template <class T>
void require_option(bool fits, const char* operation, const char* option, const T& value, const char* range) {
  const char* const quote = std::is_convertible_v<const T&, std::string_view> ? "'" : "";
  if (!fits)
    throw ValueError(
        message("{}: {} is {}{}{}; it must be {}", operation, option, quote, value, quote, range));
}
inline void require_finite(const char* operation, const char* option, double value) {
  require_option(std::isfinite(value), operation, option, value, "a finite number");
}
inline void require_at_least_0(const char* operation, const char* option, double value) {
  require_option(value >= 0 && std::isfinite(value), operation, option, value,
                 std::isinf(value) ? "finite" : "at least 0");
}
inline void require_positive(const char* operation, const char* option, double value) {
  require_option(value > 0 && std::isfinite(value), operation, option, value,
                 std::isinf(value) ? "finite" : "a positive number");
}
inline void require_from_0_to_1(const char* operation, const char* option, double value) {
  require_option(value >= 0 && value <= 1, operation, option, value, "between 0 and 1");
}

}  // namespace retort::detail
