#include "retort/framework/ops/layout.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <new>
#include <span>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/out_of_memory_impl.hpp"
#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/strided.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/shape_ops.hpp"

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
  if (s.n < 2 || x.size() == 0) return x;
  const Tensor value = empty(x.shape(), x.dtype());
  const std::array<Index, 3> extents{s.outer, s.n, s.inner}, strides{s.n * s.inner, -s.inner, 1};
  visit_dtype(x.dtype(), [&]<class T>(T) {
    const T* last = x.data<T>().data() + (s.n - 1) * s.inner;
    kernels::strided_copy(last, value.mutable_data<T>().data(), 3, extents.data(), strides.data());
  });
  return record({.name = "flip", .inputs = {x}, .value = value, .vjp = [d](const Tensor& g, Needs) {
                   return flip_along(g, d);
                 }});
}

// One dimension of a padded array. Elements outside the range that is kept are cropped.
struct Side {
  std::int64_t extent = 1, place = 0;  // of the result; position of the first kept element in it
  std::int64_t first = 0, kept = 1;    // the range of the input that is kept
  std::int64_t x_step = 1, y_step = 1;
};

// Fills y along sides[0], sides[1], … with x and, outside it, with the value.
template <class T>
void pad_into(std::span<const Side> sides, const T* x, T* y, T value) {
  const Side& side = sides[0];
  std::fill_n(y, side.place * side.y_step, value);
  T* const rest = y + (side.place + side.kept) * side.y_step;
  std::fill(rest, y + side.extent * side.y_step, value);
  x += side.first * side.x_step;
  y += side.place * side.y_step;
  if (sides.size() == 1)
    std::copy_n(x, side.kept * side.x_step, y);
  else
    for (std::int64_t i = 0; i < side.kept; ++i, x += side.x_step, y += side.y_step)
      pad_into(sides.subspan(1), x, y, value);
}

// Pads each dimension by the numbers before and after it; negative numbers crop. The rule is the same
// operation with opposite signs.
Tensor padded(const Tensor& x, const Counts& before, const Counts& after, Scalar value) {
  const std::size_t rank = before.size();
  Shape shape = x.shape();
  std::vector<Side> sides(rank);
  std::int64_t x_step = 1, y_step = 1;
  std::size_t first = rank, last = 0;  // the padded dimensions
  for (std::size_t d = rank; d-- > 0;) {
    const std::int64_t n = shape[d], least = -std::numeric_limits<std::int64_t>::max();
    const bool overflows = __builtin_add_overflow(before[d], after[d], &shape[d]) ||
                           __builtin_add_overflow(shape[d], n, &shape[d]);
    if (overflows && std::max(before[d], after[d]) > 0)
      throw ShapeError(message("pad: {} and {} enlarge dim {} of shape {} beyond 64 bits", before[d],
                               after[d], d, x.shape()));
    if (overflows || std::min(before[d], after[d]) < least || shape[d] < 0)
      throw ShapeError(message("pad: {} and {} remove more than the {} along dim {} of shape {}", before[d],
                               after[d], detail::counted(n, "element"), d, x.shape()));
    detail::require_shape("pad", shape);
    Side& side = sides[d];
    side = {.extent = shape[d], .x_step = x_step, .y_step = y_step};
    side.first = std::clamp<std::int64_t>(-before[d], 0, n);
    side.kept = std::clamp<std::int64_t>(n + std::min<std::int64_t>(after[d], 0), side.first, n) - side.first;
    side.place = std::clamp<std::int64_t>(before[d], 0, shape[d] - side.kept);
    x_step *= n;
    y_step *= shape[d];
    if (before[d] == 0 && after[d] == 0) continue;
    first = d;
    last = std::max(last, d);
  }
  if (first == rank) return x;
  const std::span<const Side> inner = std::span(sides).subspan(first, last - first + 1);
  const std::int64_t from = inner[0].x_step * x.shape()[first], to = inner[0].y_step * inner[0].extent;
  const Tensor out = detail::Access::make(Array(shape, x.dtype(), "pad"));
  visit_dtype(x.dtype(), [&]<class T>(T) {
    const T* in = x.data<T>().data();
    T* y = out.mutable_data<T>().data();
    const std::int64_t outer = to == 0 ? 0 : out.size() / to;
    parallel_for(outer, std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, to)),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t o = begin; o < end; ++o)
                     pad_into(inner, in + o * from, y + o * to, value.as<T>());
                 });
  });
  return record({.name = "pad", .inputs = {x}, .value = out, .vjp = [=](const Tensor& g, Needs) {
                   Counts less_before(rank), less_after(rank);
                   for (std::size_t d = 0; d < rank; ++d)
                     less_before[d] = -before[d], less_after[d] = -after[d];
                   return padded(g, less_before, less_after, 0);
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
  Counts before(rank), after(rank);
  for (std::size_t i = 0; i < padding.size(); i += 2) {
    before[rank - 1 - i / 2] = padding[i];
    after[rank - 1 - i / 2] = padding[i + 1];
  }
  return padded(x, before, after, value);
}

Tensor repeat(const Tensor& x, const Counts& times) {
  detail::require_defined("repeat", x);
  const std::size_t rank = times.size();
  if (rank < x.shape().size())
    throw ShapeError(
        message("repeat: {} numbers for an input of shape {}; give one for each dimension", rank, x.shape()));
  detail::require_dims("repeat", rank);
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
      throw detail::OutOfMemory(message("a result of shape {} and type {} is too large", result, x.dtype()),
                                "repeat");
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
