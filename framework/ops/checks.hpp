// Checks at an operation's entry. Internal.
#pragma once

#include <string>

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/require.hpp"
#include "retort/framework/kernels/axis.hpp"
#include "retort/framework/ops/dims.hpp"

namespace retort::detail {

/// Throws: ValueError if the argument `what` is undefined, TypeError if it is int64.
inline void require_floating(const char* operation, const char* what, const Tensor& x) {
  require_defined(operation, what, x);
  if (!is_floating_point(x.dtype()))
    throw TypeError(
        message("{}: {} is {}; convert it to float32 or float64 with to()", operation, what, x.dtype()));
}
inline void require_floating(const char* operation, const Tensor& x) {
  require_floating(operation, "the input", x);
}
/// Throws: as require_floating, and ShapeError unless the parameter `what` is undefined or has that shape.
inline void require_parameter(const char* operation, const char* what, const Tensor& parameter,
                              const Shape& shape) {
  if (!parameter.defined()) return;
  require_floating(operation, what, parameter);
  if (parameter.shape() != shape)
    throw ShapeError(
        message("{}: {} has shape {}; it must be {}", operation, what, parameter.shape(), shape));
}

/// Throws: TypeError unless x (indices, labels or conditions) is int64.
inline void require_int64(const char* operation, const char* what, const Tensor& x) {
  require_defined(operation, what, x);
  if (x.dtype() != DType::int64)
    throw TypeError(message("{}: the {} must be int64, not {}", operation, what, x.dtype()));
}

/// The position of an element for messages: "3" in one dimension, "(1, 0)" in two.
std::string position_text(Index element, const Shape& shape);
/// Throws: ValueError naming the argument `what` unless each element of an int64 tensor is 0 or 1.
void require_0_or_1(const char* operation, const char* what, const Tensor& mask);

/// A shape seen from one dimension: [outer, n, inner].
using Split = kernels::Axis;
kernels::Axis split_at(const Shape& shape, std::size_t dim);

/// Shapes and counts of a reduction over some dimensions or all.
struct Reduced {
  Shape kept;      ///< shape of the result with keepdim
  Shape squeezed;  ///< shape of the result without keepdim
  Dims order;      ///< permutation that moves the reduced dimensions to the end
};
/// Throws: IndexError if a dimension is out of range; ValueError if one appears twice.
Reduced reduced_dims(const char* operation, const Shape& shape, const Dims& dims);

/// The shape with the extent of one dimension replaced.
inline Shape with_extent(Shape shape, std::size_t dim, std::int64_t extent) {
  if (!shape.empty()) shape[dim] = extent;
  return shape;
}

}  // namespace retort::detail
