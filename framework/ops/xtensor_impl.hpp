// xtensor over tensors' memory, for operations that are not hot. These headers take seconds to compile, so
// such operations share a few source files. Private to the library.
#pragma once

#include <array>
#include <xtensor/xmath.hpp>
#include <xtensor/xview.hpp>

#include "retort/framework/kernels/axis.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/xtensor.hpp"

namespace retort::detail {

/// Elements seen as [outer, n, inner]: three fixed dimensions are faster than a dynamic list.
template <class T>
auto adapt_axis(T* elements, const kernels::Axis& axis) {
  const std::array<std::size_t, 3> shape{static_cast<std::size_t>(axis.outer),
                                         static_cast<std::size_t>(axis.n),
                                         static_cast<std::size_t>(axis.inner)};
  return xt::adapt(elements, static_cast<std::size_t>(axis.size()), xt::no_ownership(), shape);
}
/// As above, for a tensor.
template <class T>
auto axis_view(const Tensor& x, const kernels::Axis& axis) {
  return adapt_axis(x.data<T>().data(), axis);
}

/// The tensor created by f(zero) with from_xtensor() for an element type, reshaped to a shape of equal size.
template <class F>
[[nodiscard]] Tensor evaluate(const Shape& shape, DType dtype, F f) {
  return reshape(visit_dtype(dtype, f), shape);
}

}  // namespace retort::detail
