// Arithmetic on arrays, without history. Internal.
#pragma once

#include "retort/framework/base/array.hpp"

namespace retort::detail {

/// a + b, of one element type, with broadcasting. Throws: ShapeError naming `operation`.
[[nodiscard]] Array added(const char* operation, const Array& a, const Array& b);
/// a += b for arrays of one shape and float type; nobody else may own a's buffer.
void add_in_place(Array& a, const Array& b);
/// x summed over the dimensions in which `shape` was broadcast to x's.
[[nodiscard]] Array summed_to(const Array& x, const Shape& shape);
/// x repeated along the dimensions in which it broadcasts to `shape`.
[[nodiscard]] Array repeated_to(const Array& x, const Shape& shape);
/// The same values in another element type, by convert().
[[nodiscard]] Array converted(const Array& x, DType dtype);
[[nodiscard]] Array copied(const Array& x);

}  // namespace retort::detail
