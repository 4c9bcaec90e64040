// Element types of a tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <type_traits>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A size, position or extent.
using Index = std::int64_t;

/// The element type of a tensor. Labels, indices and conditions are int64.
enum class DType : std::uint8_t { float32, float64, int64 };

/// "float32", "float64" or "int64".
constexpr std::string_view name(DType dtype) {
  switch (dtype) {
    case DType::float32: return "float32";
    case DType::float64: return "float64";
    case DType::int64: return "int64";
  }
  return "unknown dtype";
}

/// Prints name(dtype).
std::ostream& operator<<(std::ostream& stream, DType dtype);
/// Appends name(dtype), for message().
inline void append_text(std::string& text, DType dtype) { text += name(dtype); }

/// Bytes of one element.
constexpr std::size_t size_of(DType dtype) { return dtype == DType::float32 ? 4 : 8; }

/// True for float32 and float64.
constexpr bool is_floating_point(DType dtype) { return dtype != DType::int64; }

/// The element type of a result: float64 if either is, else float32 if either is, else int64.
constexpr DType promote(DType a, DType b) {
  if (a == b) return a;
  return a == DType::float64 || b == DType::float64 ? DType::float64 : DType::float32;
}

namespace detail {
template <class T>
struct DTypeOf;  // undefined: elements are float, double or std::int64_t
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::float32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::float64;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::int64;
};
}  // namespace detail

/// DType of a C++ element type: float, double or std::int64_t.
template <class T>
inline constexpr DType dtype_of = detail::DTypeOf<T>::value;

namespace detail {
/// Converts as static_cast does, with defined results for a floating-point value beyond the range of an
/// integer type: the nearest To, and 0 for NaN.
template <class To, class From>
constexpr To convert(From value) {
  if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To> && !std::is_same_v<To, bool>) {
    // Without <limits>, which would add 1,500 lines to what a user's file parses.
    constexpr To half = static_cast<To>(To{1} << (8 * sizeof(To) - (std::is_signed_v<To> ? 2 : 1)));
    constexpr To most = static_cast<To>(half - 1 + half);
    constexpr To least = std::is_signed_v<To> ? static_cast<To>(-most - 1) : To{0};
    if (value != value) return 0;
    if (value < static_cast<From>(least)) return least;
    if (value >= 2 * static_cast<From>(half)) return most;  // the largest To plus 1, exactly
  }
  return static_cast<To>(value);
}
}  // namespace detail

/// Calls f with a zero of the C++ type of dtype.
template <class F>
decltype(auto) visit_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::float32: return f(float{});
    case DType::float64: return f(double{});
    default: return f(std::int64_t{});
  }
}

/// As visit_dtype(), for operations that have already rejected int64.
template <class F>
decltype(auto) visit_floating(DType dtype, F&& f) {
  return dtype == DType::float64 ? f(double{}) : f(float{});
}

}  // namespace retort
