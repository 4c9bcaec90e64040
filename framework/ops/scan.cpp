#include "retort/framework/ops/scan.hpp"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/product.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

using kernels::Axis;

// The accumulator type for sums and products of T.
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, float>, double, T>;

// y[i] = x[0] + … + x[i], n times, in each column of [n, columns]. Adjacent rows are `step` elements apart,
// and adjacent columns `apart`. `Columns` sums are computed at a time, so that none waits for another.
template <Index Columns, Index Apart, class T>
void running_sums(const T* x, T* y, Index n, Index step, Index columns, Index apart) {
  if constexpr (Apart != 0) apart = Apart;
  Index first = 0;
  for (; first + Columns <= columns; first += Columns) {
    Wide<T> sums[Columns] = {};
    for (Index i = 0, at = first * apart; i < n; ++i, at += step)
      for (Index j = 0; j < Columns; ++j) y[at + j * apart] = static_cast<T>(sums[j] += x[at + j * apart]);
  }
  if constexpr (Columns > 1)
    running_sums<Columns / 4, Apart>(x + first * apart, y + first * apart, n, step, columns - first, apart);
}

// Cumulative sums, forward or backward: each direction is the other's rule.
Tensor running_sum(const Tensor& x, const Axis& axis, bool backward) {
  const auto [outer, n, inner] = axis;
  const Tensor value = empty(x.shape(), x.dtype());
  constexpr Index width = 64, grain = 32768;
  const Index start = backward ? (n - 1) * inner : 0, step = backward ? -inner : inner;
  const Index strips = (inner + width - 1) / width, columns = std::min(inner, width);
  visit_dtype(x.dtype(), [&]<class T>(T) {
    const T* from = x.data<T>().data();
    T* to = value.mutable_data<T>().data();
    parallel_for(n == 0 ? 0 : outer * strips, std::max<Index>(4, grain / std::max<Index>(1, n * columns)),
                 [&](Index begin, Index end) {
                   if (inner == 1) {
                     const Index at = begin * n + start;
                     return running_sums<4, 0>(from + at, to + at, n, step, end - begin, n);
                   }
                   for (Index i = begin; i < end; ++i) {
                     const Index first = i % strips * width, at = i / strips * n * inner + first + start;
                     running_sums<16, 1>(from + at, to + at, n, step, std::min(width, inner - first), 1);
                   }
                 });
  });
  return record(
      {.name = "cumsum", .inputs = {x}, .value = value, .vjp = [axis, backward](const Tensor& g, Needs) {
         return running_sum(g, axis, !backward);
       }});
}

// Products of the rows of x [rows, n] as a tree of multiplications: differentiable to any order, zeros
// included.
Tensor product_tree(Tensor y) {
  while (y.size(1) > 1) {
    const std::int64_t n = y.size(1), half = n / 2;
    const Tensor pairs = slice(y, 1, 0, half) * slice(y, 1, half, 2 * half);
    y = n % 2 == 0 ? pairs : concat({pairs, slice(y, 1, 2 * half)}, 1);
  }
  return reshape(y, {y.size(0)});
}

// The products of x [outer, n, inner] along n > 0, as [outer·inner].
Tensor products(const Tensor& x, const Axis& axis) {
  const Tensor value = empty({axis.rows()}, x.dtype());
  visit_dtype(x.dtype(), [&]<class T>(T) {
    kernels::product(x.data<T>().data(), value.mutable_data<T>().data(), axis);
  });
  const auto reference = [axis](const Tensors& in) {
    const Tensor wide = reshape(in[0].to(DType::float64), {axis.outer, axis.n, axis.inner});
    return product_tree(reshape(transpose(wide, 1, 2), {axis.rows(), axis.n})).to(in[0].dtype());
  };
  return record({.name = "prod",
                 .inputs = {x},
                 .value = value,
                 .vjp = vjp_by_reference(reference, {x}),
                 .fast_vjp = [x = x.detach(), axis](const Tensor& g, Needs) {
                   return compute(
                       x.shape(), x.dtype(),
                       [&](auto* dx, auto* in, auto* up) { kernels::product_backward(in, up, dx, axis); }, x,
                       g);
                 }});
}

}  // namespace

Tensor cumsum(const Tensor& x, std::int64_t dim) {
  detail::require_defined("cumsum", x);
  const detail::Split s = detail::split_at(x.shape(), detail::checked_dim("cumsum", dim, x.shape()));
  return running_sum(x, {s.outer, s.n, s.inner}, false);
}

Tensor prod(const Tensor& x, Dims dims, bool keepdim) {
  detail::require_defined("prod", x);
  const detail::Reduced reduced = detail::reduced_dims("prod", x.shape(), dims);
  const Shape& shape = keepdim ? reduced.kept : reduced.squeezed;
  if (x.size() == 0) return full(shape, 1, x.dtype());
  const Shape& order = reduced.order.list();  // kept dimensions, then the reduced ones
  const std::size_t kept = reduced.squeezed.size();
  const std::int64_t first = order.empty() ? 0 : order[kept], last = order.empty() ? 0 : order.back();
  Tensor in = x;
  Axis axis;
  if (last - first >= static_cast<std::int64_t>(order.size() - kept)) {
    in = permute(x, reduced.order);
    axis = {.outer = element_count(shape), .n = x.size() / element_count(shape)};
  } else {
    for (std::int64_t d = 0; d < x.dim(); ++d)
      (d < first ? axis.outer : d <= last ? axis.n : axis.inner) *= x.size(d);
  }
  return reshape(products(in, axis), shape);
}

}  // namespace retort
