// The operations that the engine itself needs.
#pragma once

#include "retort/framework/core/factories.hpp"
#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

/// a + b, elementwise with broadcasting. [broadcast of both]
[[nodiscard]] Tensor add(const Tensor& a, const Tensor& b);

/// x summed over the dimensions in which it was broadcast from `shape`: the inverse of broadcast_to.
/// Throws: ShapeError if `shape` does not broadcast to x's.
[[nodiscard]] Tensor sum_to(const Tensor& x, const Shape& shape);

/// x repeated along new leading dimensions and along those of extent 1.
/// Throws: ShapeError if x's shape does not broadcast to `shape`.
[[nodiscard]] Tensor broadcast_to(const Tensor& x, const Shape& shape);

/// x itself under a node of its own: y = x (the values are shared), dx = g.
[[nodiscard]] Tensor identity(const Tensor& x);

namespace detail {
/// For a rule whose gradient of input i is zero except at a few positions: the sum of the gradients that
/// reached the input before. The rule adds to it in place and returns it, and so costs only what it adds.
/// Undefined if no sum exists yet, if it is shared or of another shape or type, or if the rule is
/// recorded.
[[nodiscard]] Tensor gathered_gradient(std::size_t i, const Shape& shape, DType dtype);
}  // namespace detail

}  // namespace retort
