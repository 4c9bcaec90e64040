// Checks at an operation's entry. Internal.
#pragma once

#include "retort/framework/core/error.hpp"
#include "retort/framework/core/tensor.hpp"

namespace retort::detail {

inline void require_floating(const char* operation, const Tensor& x) {
  if (!is_floating_point(x.dtype()))
    throw TypeError(
        message(operation, ": the input is ", x.dtype(), "; convert it to float32 or float64 with to()"));
}

/// Indices, labels and conditions are int64.
inline void require_int64(const char* operation, const char* what, const Tensor& x) {
  if (x.dtype() != DType::int64)
    throw TypeError(message(operation, ": the ", what, " must be int64, not ", x.dtype()));
}

/// A shape seen from one dimension: [outer, n, inner].
struct Split {
  std::int64_t outer = 1, n = 1, inner = 1;
};
Split split_at(const Shape& shape, std::size_t dim);

/// The shape with the extent of one dimension replaced.
inline Shape with_extent(Shape shape, std::size_t dim, std::int64_t extent) {
  if (!shape.empty()) shape[dim] = extent;
  return shape;
}

}  // namespace retort::detail
