// Arithmetic on arrays, without history. Internal.
#pragma once

#include "retort/framework/base/array.hpp"

namespace retort::detail {

/// a + b for arrays of one element type, with broadcasting.
/// Throws: ShapeError naming `operation`.
[[nodiscard]] Array added(const char* operation, const Array& a, const Array& b);
/// a += b for arrays of equal shape and float type; a must be the sole owner of its buffer.
void add_in_place(Array& a, const Array& b);
/// Sums x over the dimensions in which `shape` was broadcast to x's shape.
[[nodiscard]] Array summed_to(const Array& x, const Shape& shape);
/// Repeats x along the dimensions in which it broadcasts to `shape`.
[[nodiscard]] Array repeated_to(const Array& x, const Shape& shape);
/// Converts the values to another element type with convert().
[[nodiscard]] Array converted(const Array& x, DType dtype);
[[nodiscard]] Array copied(const Array& x);

}  // namespace retort::detail
