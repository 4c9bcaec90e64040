#include "retort/framework/ops/scan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/xtensor_impl.hpp"

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

// A product as fraction · 2^exponent, whose intermediate values neither overflow nor underflow.
class Product {
 public:
  explicit Product(double x) { *this *= x; }
  Product& operator*=(double x) {
    int shift = 0, again = 0;
    fraction_ = std::frexp(fraction_ * std::frexp(x, &shift), &again);
    exponent_ += shift + again;
    return *this;
  }
  double times(const Product& other) const {
    const std::int64_t exponent = std::clamp<std::int64_t>(exponent_ + other.exponent_, -5000, 5000);
    return std::ldexp(fraction_ * other.fraction_, static_cast<int>(exponent));
  }

 private:
  double fraction_ = 1;
  std::int64_t exponent_ = 0;
};

// g times the product of the row's other elements: those before, then those after.
template <class T>
void product_backward(const T* x, const T* g, T* dx, std::int64_t rows, std::int64_t n) {
  std::vector<Product> before;
  before.reserve(static_cast<std::size_t>(n));
  for (std::int64_t r = 0; r < rows; ++r, x += n, dx += n) {
    before.clear();
    Product product(static_cast<double>(g[r])), behind(1);
    for (std::int64_t i = 0; i < n; product *= static_cast<double>(x[i++])) before.push_back(product);
    for (std::int64_t i = n; i-- > 0; behind *= static_cast<double>(x[i]))
      dx[i] = static_cast<T>(before[static_cast<std::size_t>(i)].times(behind));
  }
}

// Products of the rows of x [rows, n], n > 0.
Tensor row_products(const Tensor& x) {
  const std::int64_t rows = x.size(0), n = x.size(1);
  const Tensor value = detail::evaluate({rows}, x.dtype(), [&]<class T>(T) {
    return from_xtensor(xt::cast<T>(xt::prod<Wide<T>>(detail::axis_view<T>(x, {rows, n, 1}), {1})));
  });
  return record(
      {.name = "prod",
       .inputs = {x},
       .value = value,
       .vjp = vjp_by_reference(
           [](const Tensors& in) { return product_tree(in[0].to(DType::float64)).to(in[0].dtype()); }, {x}),
       .fast_vjp = [x = x.detach(), rows, n](const Tensor& g, Needs) {
         return compute(
             x.shape(), x.dtype(),
             [=](auto* dx, auto* in, auto* up) { product_backward(in, up, dx, rows, n); }, x, g);
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
  const std::int64_t rows = element_count(shape);
  if (x.size() == 0) return full(shape, 1, x.dtype());
  const Tensor in = x.dim() < 2 ? x : permute(x, reduced.order);
  return reshape(row_products(reshape(in, {rows, x.size() / rows})), shape);
}

}  // namespace retort
