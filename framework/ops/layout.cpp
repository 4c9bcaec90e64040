#include "retort/framework/ops/layout.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <new>
#include <xtensor/xbuilder.hpp>
#include <xtensor/xmanipulation.hpp>

#include "retort/framework/core/op.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/xtensor_impl.hpp"

namespace retort {
namespace {

using Counts = std::vector<std::int64_t>;

// tril or triu. The rule is the operation itself.
Tensor triangle(const char* operation, const Tensor& x, std::int64_t k, bool lower) {
  detail::require_defined(operation, x);
  if (x.dim() < 2)
    throw ShapeError(
        message("{}: the input has shape {}; it must have two or more dimensions", operation, x.shape()));
  const Index rows = x.size(-2), columns = x.size(-1);
  // Diagonals beyond the corners are clamped, so that differences cannot overflow.
  const std::int64_t diagonal = std::clamp(k, -rows - 1, columns + 1);
  const Tensor value = empty(x.shape(), x.dtype());
  visit_dtype(x.dtype(), [&]<class T>(T) {
    const T* from = x.data<T>().data();
    T* to = value.mutable_data<T>().data();
    for (Index row = 0; row < x.size() / std::max<Index>(columns, 1); ++row, from += columns, to += columns) {
      const Index at = row % rows + diagonal;  // the diagonal's column in this row
      const Index begin = lower ? 0 : std::clamp<Index>(at, 0, columns);
      const Index end = lower ? std::clamp<Index>(at + 1, 0, columns) : columns;
      std::fill(to, to + begin, T(0));
      std::copy(from + begin, from + end, to + begin);
      std::fill(to + end, to + columns, T(0));
    }
  });
  return record(
      {.name = operation,
       .inputs = {x},
       .value = value,
       .vjp = [operation, k, lower](const Tensor& g, Needs) { return triangle(operation, g, k, lower); }});
}

Tensor flip_along(const Tensor& x, std::size_t d) {
  const detail::Split s = detail::split_at(x.shape(), d);
  if (s.n < 2) return x;
  const auto flipped = [&]<class T>(T) {
    const auto in = detail::axis_view<T>(x, {s.outer, s.n, s.inner});
    return from_xtensor(xt::flip(in, 1));
  };
  return record({.name = "flip",
                 .inputs = {x},
                 .value = detail::evaluate(x.shape(), x.dtype(), flipped),
                 .vjp = [d](const Tensor& g, Needs) { return flip_along(g, d); }});
}

// Pads dimension d on both sides; negative numbers crop. The rule is the same operation with opposite signs.
Tensor pad_along(const Tensor& x, std::size_t d, std::int64_t before, std::int64_t after, Scalar value) {
  const std::int64_t n = x.shape()[d];
  std::int64_t extent = 0;
  const std::int64_t least = -std::numeric_limits<std::int64_t>::max();
  if (std::min(before, after) < least || __builtin_add_overflow(before, after, &extent) ||
      __builtin_add_overflow(extent, n, &extent) || extent < 0)
    throw ShapeError(message("pad: {} and {} do not fit dim {} of shape {}", before, after, d, x.shape()));
  const Shape shape = detail::with_extent(x.shape(), d, extent);
  detail::require_shape("pad", shape);
  const Tensor out = full(shape, value, x.dtype());
  const std::int64_t first = std::clamp<std::int64_t>(-before, 0, n);  // first remaining element
  const std::int64_t last = std::clamp<std::int64_t>(n + std::min<std::int64_t>(after, 0), first, n);
  const std::int64_t place = std::max<std::int64_t>(before, 0);
  if (out.size() > 0 && last > first) {
    const detail::Split s = detail::split_at(x.shape(), d);
    const std::int64_t from = s.n * s.inner, to = extent * s.inner, count = (last - first) * s.inner;
    // Padding is part of image training: with xtensor views it would take twenty times as long.
    visit_dtype(x.dtype(), [&]<class T>(T) {
      const T* in = x.data<T>().data() + first * s.inner;
      T* kept = out.mutable_data<T>().data() + place * s.inner;
      for (std::int64_t o = 0; o < s.outer; ++o, in += from, kept += to) std::copy_n(in, count, kept);
    });
  }
  return record({.name = "pad", .inputs = {x}, .value = out, .vjp = [=](const Tensor& g, Needs) {
                   return pad_along(g, d, -before, -after, 0);
                 }});
}

}  // namespace

Tensor flip(const Tensor& x, const Dims& dims) {
  detail::require_defined("flip", x);
  std::array<bool, Shape::max_dims> flipped{};
  Tensor y = x;
  for (const std::int64_t dim : dims.list()) {
    const std::size_t d = detail::checked_dim("flip", dim, x.shape());
    if (flipped[d]) throw ValueError(message("flip: dim {} appears twice", dim));
    flipped[d] = true;
    y = flip_along(y, d);
  }
  return y;
}

Tensor pad(const Tensor& x, const Counts& padding, Scalar value) {
  detail::require_defined("pad", x);
  const std::size_t rank = x.shape().size();
  if (padding.size() % 2 != 0 || padding.size() > 2 * rank)
    throw ShapeError(
        message("pad: {} numbers for an input of shape {}; give two per dimension, the last dimension first",
                padding.size(), x.shape()));
  if (x.dtype() == DType::int64 && !value.integral() && value.value() != std::floor(value.value()))
    throw TypeError(message(
        "pad: the value {} is not an integer but the input is int64; convert it with to()", value.value()));
  Tensor y = x;
  for (std::size_t i = 0; i < padding.size(); i += 2)
    if (padding[i] != 0 || padding[i + 1] != 0)
      y = pad_along(y, rank - 1 - i / 2, padding[i], padding[i + 1], value);
  return y;
}

Tensor repeat(const Tensor& x, const Counts& times) {
  detail::require_defined("repeat", x);
  const std::size_t rank = times.size();
  if (rank < x.shape().size())
    throw ShapeError(
        message("repeat: {} numbers for an input of shape {}; give one for each dimension", rank, x.shape()));
  Shape shape;
  for (std::size_t i = 0; i < rank; ++i) {
    if (times[i] < 0)
      throw ValueError(message("repeat: {} times; the number of repeats must not be negative", times[i]));
    const std::size_t added = rank - x.shape().size();
    shape.push_back(i < added ? 1 : x.shape()[i - added]);
  }
  // Repeats one dimension after another, seen as [outer, 1, n]: the copies broadcast the middle dimension.
  Shape result = shape;
  bool fits = true;
  for (std::size_t d = 0; d < rank; ++d)
    fits = !__builtin_mul_overflow(shape[d], times[d], &result[d]) && fits;
  if (fits) detail::require_shape("repeat", result);
  if (!fits)
    throw ShapeError(
        message("repeat: an input of shape {}, repeated {} times, is too large", x.shape(), Shape(times)));
  Tensor y = reshape(x, shape);
  for (std::size_t d = rank; d-- > 0;) {
    if (times[d] == 1) continue;
    std::int64_t outer = 1, n = 1;
    for (std::size_t i = 0; i < rank; ++i) (i < d ? outer : n) *= shape[i];
    shape[d] = result[d];
    try {
      y = reshape(broadcast_to(reshape(y, {outer, 1, n}), {outer, times[d], n}), shape);
    } catch (const std::bad_alloc&) {
      throw ShapeError(message("repeat: a result of shape {} does not fit into memory", result));
    }
  }
  return y;
}

Tensor tril(const Tensor& x, std::int64_t k) { return triangle("tril", x, k, true); }
Tensor triu(const Tensor& x, std::int64_t k) { return triangle("triu", x, k, false); }

Tensor masked_fill(const Tensor& x, const Tensor& mask, Scalar value) {
  detail::require_defined("masked_fill", x);
  detail::require_defined("masked_fill", "mask", mask);
  detail::require_int64("masked_fill", "mask", mask);
  (void)detail::broadcast_shapes("masked_fill", x.shape(), mask.shape());
  return where(mask, value, x);
}

}  // namespace retort
