#include "retort/framework/ops/distance.hpp"

#include <cmath>
#include <limits>

#include "retort/framework/core/op.hpp"
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

// The norm with keepdim, without history. Where powers overflow, or underflow as far as to lose digits, the vector is
// divided by its largest element first.
Tensor norm_value(const Tensor& x, double p, const Dims& dims) {
  const Tensor size = abs(x);
  const Tensor y = power_sum(size, p, dims);
  if (p < 0 || x.size() == 0) return y;
  const bool single = x.dtype() == DType::float32;
  const double least = single ? std::numeric_limits<float>::min() / std::numeric_limits<float>::epsilon()
                              : std::numeric_limits<double>::min() / std::numeric_limits<double>::epsilon();
  const Tensor lossy =
      add(less(y, std::pow(least, 1 / p)), equal(y, std::numeric_limits<double>::infinity()));
  if (sum(lossy).item<std::int64_t>() == 0) return y;
  const Tensor most = amax(size, dims, true);
  const Tensor ordinary = greater(most, 0.0) * less(most, std::numeric_limits<double>::infinity());
  const Tensor scale = where(ordinary, most, 1.0);
  return where(lossy * ordinary, scale * power_sum(size / scale, p, dims), y);
}

// -1, 0 or 1, without history.
Tensor sign(const Tensor& x) { return (greater(x, 0.0) - less(x, 0.0)).to(x.dtype()); }

// dy/dx_i = sign(x_i) (|x_i| / y)^(p - 1), and 0 where that would divide by 0.
Tensor power_norm(const Tensor& x, double p, const Dims& dims) {
  return record({.name = "norm",
                 .inputs = {x},
                 .value = norm_value(x.detach(), p, dims),
                 .vjp = [x, p](const Tensor& g, const Tensor& y, Needs) {
                   if (p == 1) return g * sign(x.detach());
                   const Tensor nothing = equal(y.detach(), 0.0);
                   const Tensor ratio = x / where(nothing, 1.0, y);
                   if (p == 2) return g * where(nothing, 0.0, ratio);
                   const Tensor zero = equal(x.detach(), 0.0);
                   const Tensor power = pow(where(zero, 1.0, abs(ratio)), p - 1);
                   return g * (sign(x.detach()) * where(zero, 0.0, power));
                 }});
}

Tensor norm_of(const char* operation, const Tensor& x, double p, const Dims& dims, bool keepdim) {
  detail::require_floating(operation, x);
  if (std::isnan(p)) throw ValueError(message("{}: p is NaN", operation));
  const detail::Reduced reduced = detail::reduced_dims(operation, x.shape(), dims);
  if (x.size() == 0 && element_count(reduced.kept) > 0 && (p < 0 || std::isinf(p)))
    throw ValueError(message("{}: shape {} has no element to reduce, which has no norm for p = {}", operation,
                             x.shape(), p));
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

}  // namespace

Tensor norm(const Tensor& x, double p, Dims dims, bool keepdim) {
  return norm_of("norm", x, p, dims, keepdim);
}

Tensor cosine_similarity(const Tensor& a, const Tensor& b, std::int64_t dim, double eps) {
  constexpr const char* operation = "cosine_similarity";
  detail::require_floating(operation, a);
  detail::require_floating(operation, b);
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
  detail::require_floating("cdist", a);
  detail::require_floating("cdist", b);
  if (!(p >= 0)) throw ValueError(message("cdist: p is {}; it must not be negative", p));
  if (a.dim() < 2 || b.dim() < 2 || a.size(-1) != b.size(-1))
    throw ShapeError(
        message("cdist: the inputs have shapes {} and {}; they must be (..., P, M) and (..., R, M)",
                a.shape(), b.shape()));
  const auto leading = [](const Tensor& x) { return Shape(x.shape().begin(), x.shape().end() - 2); };
  Shape shape = detail::broadcast_shapes("cdist", leading(a), leading(b));
  if (a.size(-1) == 0) {  // vectors without elements are equal
    shape.push_back(a.size(-2));
    shape.push_back(b.size(-2));
    return broadcast_to(sum(unsqueeze(a, -2) - unsqueeze(b, -3), -1), shape);
  }
  return norm_of("cdist", unsqueeze(a, -2) - unsqueeze(b, -3), p, -1, false);
}

}  // namespace retort
