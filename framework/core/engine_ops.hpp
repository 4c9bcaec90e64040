// The operations that the engine itself needs.
#pragma once

#include "retort/framework/core/tensor.hpp"

namespace retort {

/// a + b, elementwise with broadcasting. [broadcast of both]
[[nodiscard]] Tensor add(const Tensor& a, const Tensor& b);

/// Sums the dimensions away in which x was broadcast from `shape`: the inverse of broadcast_to.
/// ShapeError when `shape` does not broadcast to x's.
[[nodiscard]] Tensor sum_to(const Tensor& x, const Shape& shape);

/// x repeated along new leading dimensions and along those of extent 1. ShapeError when it does not fit.
[[nodiscard]] Tensor broadcast_to(const Tensor& x, const Shape& shape);

/// x itself under a node of its own: y = x (the values are shared), dx = g.
[[nodiscard]] Tensor identity(const Tensor& x);

namespace detail {
/// The shape that a and b broadcast to, by NumPy's rule. ShapeError naming `operation` and both shapes.
Shape broadcast_shapes(const char* operation, const Shape& a, const Shape& b);
/// a += b for arrays of one shape and float type; a's buffer must be nobody else's.
void add_in_place(Array& a, const Array& b);
/// For a rule whose gradient of input i is zero except at a few positions: the sum of the gradients that reached the
/// input before. The rule adds to it in place and returns it, and so costs only what it adds. Undefined if there is no
/// such sum, if it is shared or of another shape or type, or if the rule is recorded.
[[nodiscard]] Tensor gathered_gradient(std::size_t i, const Shape& shape, DType dtype);
}  // namespace detail

}  // namespace retort
