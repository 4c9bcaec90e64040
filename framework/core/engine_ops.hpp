// Operations that the engine needs.
#pragma once

#include "retort/framework/core/factories.hpp"
#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

/// a + b, elementwise with broadcasting. [broadcast of both]
[[nodiscard]] Tensor add(const Tensor& a, const Tensor& b);

/// Sums x over the dimensions in which `shape` was broadcast to x's shape: the adjoint of broadcast_to.
/// Throws: ShapeError if `shape` does not broadcast to x's shape.
[[nodiscard]] Tensor sum_to(const Tensor& x, const Shape& shape);

/// Repeats x along new leading dimensions and along dimensions of extent 1.
/// Throws: ShapeError if x's shape does not broadcast to `shape`.
[[nodiscard]] Tensor broadcast_to(const Tensor& x, const Shape& shape);

/// The identity with a graph node of its own: y = x (the values are shared), dx = g.
[[nodiscard]] Tensor identity(const Tensor& x);

namespace detail {
/// For a rule whose gradient of input i is zero except at a few positions: returns the sum of the gradients
/// that reached the input so far. The rule adds to it in place and returns it, at the cost of the positions
/// it changes. Undefined for the first gradient, for a sum that is shared or has a different shape or type,
/// and if the rule is recorded.
[[nodiscard]] Tensor gathered_gradient(std::size_t i, const Shape& shape, DType dtype);
}  // namespace detail

}  // namespace retort
