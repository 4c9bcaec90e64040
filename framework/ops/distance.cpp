#include "retort/framework/ops/distance.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "retort/framework/base/options.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/distance.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

Tensor power_sum(const Tensor& size, double p, const Dims& dims) {
  if (p == 1) return sum(size, dims, true);
  if (p == 2) return sqrt(sum(size * size, dims, true));
  return pow(sum(pow(size, p), dims, true), 1 / p);
}

// The norm with keepdim, without history. If powers would overflow or lose digits by underflow, the vector is
// first divided by its largest element, or for p < 0 by its smallest.
Tensor norm_value(const Tensor& x, double p, const Dims& dims) {
  const Tensor size = p == 2 ? x : abs(x);
  const Tensor y = power_sum(size, p, dims);
  if (x.size() == 0) return y;
  const bool single = x.dtype() == DType::float32;
  const double least = single ? std::numeric_limits<float>::min() / std::numeric_limits<float>::epsilon()
                              : std::numeric_limits<double>::min() / std::numeric_limits<double>::epsilon();
  const double bound = std::pow(least, 1 / p), extreme = p < 0 ? 0 : std::numeric_limits<double>::infinity();
  const Tensor lossy = add(p < 0 ? greater(y, bound) : less(y, bound), equal(y, extreme));
  if (sum(lossy).item<std::int64_t>() == 0) return y;
  const Tensor most = p < 0 ? amin(abs(x), dims, true) : amax(abs(x), dims, true);
  const Tensor ordinary = greater(most, 0.0) * less(most, std::numeric_limits<double>::infinity());
  const Tensor scale = where(ordinary, most, 1.0);
  return where(lossy * ordinary, scale * power_sum(size / scale, p, dims), y);
}

// -1, 0 or 1, without history.
Tensor sign(const Tensor& x) { return (greater(x, 0.0) - less(x, 0.0)).to(x.dtype()); }

// dy/dx_i = sign(x_i) (|x_i| / y)^(p - 1), and 0 where y = 0: for p < 0 a single zero element makes the norm
// 0.
Tensor power_norm(const Tensor& x, double p, const Dims& dims) {
  return record({.name = "norm",
                 .inputs = {x},
                 .value = norm_value(x.detach(), p, dims),
                 .vjp = [x, p](const Tensor& g, const Tensor& y, Needs) {
                   if (p == 1) return g * sign(x.detach());
                   const Tensor nothing = equal(y.detach(), 0.0);
                   const Tensor ratio = x / where(nothing, 1.0, y);
                   if (p == 2) return g * where(nothing, 0.0, ratio);
                   const Tensor zero = maximum(equal(x.detach(), 0.0), nothing);
                   const Tensor power = pow(where(zero, 1.0, abs(ratio)), p - 1);
                   return g * (sign(x.detach()) * where(zero, 0.0, power));
                 }});
}

Tensor norm_of(const char* operation, const Tensor& x, double p, const Dims& dims, bool keepdim) {
  detail::require_floating(operation, x);
  if (std::isnan(p)) throw ValueError(message("{}: p is nan; it must be a number", operation));
  const detail::Reduced reduced = detail::reduced_dims(operation, x.shape(), dims);
  if (x.size() == 0 && element_count(reduced.kept) > 0 && (p < 0 || std::isinf(p)))
    throw ValueError(message("{}: shape {} has no element to reduce; the norm for p = {} is undefined",
                             operation, x.shape(), p));
  Tensor y;
  if (std::isinf(p)) {
    y = p > 0 ? amax(abs(x), dims, true) : amin(abs(x), dims, true);
  } else if (p == 0) {
    y = record({.name = operation,
                .inputs = {x},
                .value = sum(not_equal(x.detach(), 0.0), dims, true).to(x.dtype()),
                .vjp = [shape = x.shape()](const Tensor& g, Needs) { return zeros(shape, g.dtype()); }});
  } else {
    y = power_norm(x, p, dims);
  }
  return keepdim ? y : reshape(y, reduced.squeezed);
}

// Euclidean distances without storing all differences. a [..., P, M] and b [..., R, M] have one type and
// equal leading dimensions.
Tensor euclidean(const Tensor& a, const Tensor& b, const Shape& shape) {
  const Index P = a.size(-2), R = b.size(-2), M = a.size(-1), batch = a.size() / (P * M);
  const auto differences = [](const Tensors& in) {
    return power_norm(unsqueeze(in[0], -2) - unsqueeze(in[1], -3), 2, -1);
  };
  const auto backward = [=, a = a.detach(), b = b.detach()](const Tensor& g, const Tensor& y, Needs needs) {
    Tensors gradients(2);
    bool finite = true;
    const Tensor scales = compute(
        shape, y.dtype(),
        [&](auto* scale, auto* up, auto* distance) {
          finite = kernels::distance_scales(up, distance, scale, y.size());
        },
        g, y);
    const auto gradient = [&](const Tensor& x, const Tensor& other, Index rows, Index others, Index row,
                              Index column) {
      return compute(
          x.shape(), x.dtype(),
          [&]<class T>(T* dx, const T* from, const T* to, const T* up, const T* distance) {
            kernels::distances_backward<T>(from, to, {up, finite ? nullptr : distance, row, column}, dx,
                                           batch, rows, others, M);
          },
          x, other, finite ? scales : g, y);
    };
    if (needs[0]) gradients[0] = gradient(a, b, P, R, R, 1);
    if (needs[1]) gradients[1] = gradient(b, a, R, P, 1, R);
    return gradients;
  };
  const Tensor value = detail::Access::make(Array(shape, a.dtype(), "cdist"));
  compute_into(
      a.dtype(), [=](auto* y, auto* from, auto* to) { kernels::distances(from, to, y, batch, P, R, M); },
      writable(value), a, b);
  return record(
      {.name = "cdist",
       .inputs = {a, b},
       .value = value,
       .vjp = vjp_by_reference(
           [differences, shape](const Tensors& in) { return reshape(differences(in), shape); }, {a, b}),
       .fast_vjp = backward});
}

}  // namespace

Tensor norm(const Tensor& x, double p, Dims dims, bool keepdim) {
  return norm_of("norm", x, p, dims, keepdim);
}

Tensor cosine_similarity(const Tensor& a, const Tensor& b, std::int64_t dim, double eps) {
  constexpr const char* operation = "cosine_similarity";
  detail::require_floating(operation, "a", a);
  detail::require_floating(operation, "b", b);
  detail::require_at_least_0(operation, "eps", eps);
  const Shape shape = detail::broadcast_shapes(operation, a.shape(), b.shape());
  (void)detail::checked_dim(operation, dim, shape);
  const Dims along = shape.empty() ? Dims() : Dims(dim);
  const DType dtype = promote(a.dtype(), b.dtype());
  const auto direction = [&](const Tensor& x) {
    const Tensor whole = (x.shape() == shape ? x : broadcast_to(x, shape)).to(dtype);
    return whole / clamp(norm_of(operation, whole, 2, along, true), eps, {});
  };
  return sum(direction(a) * direction(b), along);
}

Tensor cdist(const Tensor& a, const Tensor& b, double p) {
  detail::require_floating("cdist", "a", a);
  detail::require_floating("cdist", "b", b);
  if (!(p >= 0)) throw ValueError(message("cdist: p is {}; it must not be negative", p));
  if (a.dim() < 2 || b.dim() < 2 || a.size(-1) != b.size(-1))
    throw ShapeError(
        message("cdist: the inputs have shapes {} and {}; they must be (..., P, M) and (..., R, M)",
                a.shape(), b.shape()));
  const auto leading = [](const Tensor& x) { return Shape(x.shape().begin(), x.shape().end() - 2); };
  const Shape batch = detail::broadcast_shapes("cdist", leading(a), leading(b));
  const auto whole = [&](const Tensor& x) {
    Shape shape = batch;
    shape.push_back(x.size(-2));
    shape.push_back(x.size(-1));
    return (x.shape() == shape ? x : broadcast_to(x, shape)).to(promote(a.dtype(), b.dtype()));
  };
  Shape shape = batch;
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-2));
  detail::require_shape("cdist", shape);
  const Tensor from = whole(a), to = whole(b);
  if (p == 2 && from.size() > 0 && to.size() > 0) return euclidean(from, to, shape);
  const Tensor differences = unsqueeze(from, -2) - unsqueeze(to, -3);
  // Empty vectors are equal.
  return a.size(-1) == 0 ? sum(differences, -1) : norm_of("cdist", differences, p, -1, false);
}

}  // namespace retort
