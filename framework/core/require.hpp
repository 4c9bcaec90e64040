// A check for the entry of operations. Internal.
#pragma once

#include "retort/framework/core/tensor.hpp"

namespace retort::detail {

/// Throws: ValueError naming `operation` and the argument `what` if the tensor is undefined.
inline void require_defined(const char* operation, const char* what, const Tensor& x) {
  if (!x.defined())
    throw ValueError(message(
        "{}: {} is undefined (default-constructed, or a gradient that was never computed)", operation, what));
}
inline void require_defined(const char* operation, const Tensor& x) {
  require_defined(operation, "the input", x);
}
/// Throws: ShapeError naming `operation` unless its result can have this number of dimensions.
inline void require_dims(const char* operation, std::size_t dims) {
  if (dims > Shape::max_dims)
    throw ShapeError(message("{}: the result would have {} dimensions; a tensor has at most {}", operation,
                             dims, Shape::max_dims));
}
/// Throws: ShapeError naming `operation` unless a tensor can have this shape.
inline void require_shape(const char* operation, const Shape& shape) {
  try {
    static_cast<void>(element_count(shape));
  } catch (const ShapeError& error) {
    throw ShapeError(message("{}: {}", operation, error.what()));
  }
}

}  // namespace retort::detail
