#include "retort/framework/core/engine_ops.hpp"

#include <algorithm>
#include <array>

#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/elementwise_impl.hpp"
#include "retort/framework/kernels/reduce.hpp"
#include "retort/framework/kernels/strided.hpp"

namespace retort {
namespace {

// Extent of `shape` at position i of a result with `rank` dimensions; shapes are aligned at their last one.
std::int64_t extent_at(const Shape& shape, std::size_t i, std::size_t rank) {
  const std::size_t missing = rank - shape.size();
  return i < missing ? 1 : shape[i - missing];
}

bool broadcasts(const Shape& from, const Shape& to) {
  if (from.size() > to.size()) return false;
  for (std::size_t i = 0; i < to.size(); ++i) {
    const std::int64_t extent = extent_at(from, i, to.size());
    if (extent != 1 && extent != to[i]) return false;
  }
  return true;
}

// y [outer, inner] = sum over n of x [outer, n, inner].
Array summed(const Array& x, std::int64_t outer, std::int64_t n, std::int64_t inner) {
  Array out({outer, inner}, x.dtype());
  visit_dtype(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::sum(x.data<T>().data(), out.fill<T>().data(), {outer, n, inner});
  });
  return out;
}

}  // namespace

namespace detail {

Shape broadcast_shapes(const char* operation, const Shape& a, const Shape& b) {
  if (a == b) return a;
  const std::size_t rank = std::max(a.size(), b.size());
  Shape shape(rank, 1);
  for (std::size_t i = 0; i < rank; ++i) {
    const std::int64_t x = extent_at(a, i, rank);
    const std::int64_t y = extent_at(b, i, rank);
    if (x != y && x != 1 && y != 1)
      throw ShapeError(
          message("{}: shapes {} and {} do not broadcast; extents must be equal or 1, counted from the "
                  "last dimension",
                  operation, a, b));
    shape[i] = x == 1 ? y : x;
  }
  return shape;
}

void add_in_place(Array& a, const Array& b) {
  visit_dtype(a.dtype(), [&](auto zero) {
    using T = decltype(zero);
    T* sum = a.fill<T>().data();
    kernels::zip(sum, b.data<T>().data(), sum, kernels::Broadcast<2>::same_shape(a.size()),
                 [](const auto& x, const auto& y) { return x + y; });
  });
}

}  // namespace detail

Tensor sum_to(const Tensor& x, const Shape& shape) {
  const Shape& from = x.shape();
  if (from == shape) return x;
  if (!broadcasts(shape, from))
    throw ShapeError(message("sum_to: shape {} does not broadcast to the input's {}", shape, from));
  // Runs of neighbouring dimensions that were repeated, from the last to the first, so that offsets stay valid.
  Array value = x.array();
  std::int64_t inner = 1;
  std::int64_t outer = x.size();
  for (std::size_t i = from.size(); i-- > 0;) {
    const bool repeated = extent_at(shape, i, from.size()) == 1 && from[i] != 1;
    if (!repeated) {
      inner *= from[i];
      continue;
    }
    std::int64_t n = from[i];
    while (i > 0 && extent_at(shape, i - 1, from.size()) == 1) n *= from[--i];
    outer = 1;
    for (std::size_t k = 0; k < i; ++k) outer *= from[k];
    value = summed(value, outer, n, inner);
  }
  return record({.name = "sum_to",
                 .inputs = {x},
                 .value = Tensor(value.reshaped(shape)),
                 .vjp = [from](const Tensor& g, Needs) { return broadcast_to(g, from); }});
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  if (!broadcasts(x.shape(), shape))
    throw ShapeError(message("broadcast_to: shape {} does not broadcast to {}", x.shape(), shape));
  Array out(shape, x.dtype());
  visit_dtype(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = x.data<T>().data();
    if (x.size() == 1) {
      std::fill_n(out.fill<T>().data(), out.size(), *from);
      return;
    }
    std::array<std::int64_t, Shape::max_dims> strides{};
    std::int64_t stride = 1;
    for (std::size_t i = shape.size(); i-- > 0;) {
      const std::int64_t extent = extent_at(x.shape(), i, shape.size());
      strides[i] = extent == 1 ? 0 : stride;
      stride *= extent;
    }
    kernels::strided_copy(from, out.fill<T>().data(), static_cast<int>(shape.size()), shape.data(),
                          strides.data());
  });
  // The engine sums the gradient back to x's shape.
  return record({.name = "broadcast_to",
                 .inputs = {x},
                 .value = Tensor(std::move(out)),
                 .vjp = [](const Tensor& g, Needs) { return g; }});
}

Tensor identity(const Tensor& x) {
  return record(
      {.name = "identity", .inputs = {x}, .value = Tensor(x.array()), .vjp = [](const Tensor& g, Needs) {
         return g;
       }});
}

Tensor add(const Tensor& a, const Tensor& b) {
  const DType dtype = promote(a.dtype(), b.dtype());
  const Tensor x = a.to(dtype);
  const Tensor y = b.to(dtype);
  const Shape shape = detail::broadcast_shapes("add", x.shape(), y.shape());
  Array out(shape, dtype);
  const kernels::Broadcast<2> plan({&x.shape(), &y.shape()}, shape);
  visit_dtype(dtype, [&](auto zero) {
    using T = decltype(zero);
    kernels::zip(x.data<T>().data(), y.data<T>().data(), out.fill<T>().data(), plan,
                 [](const auto& u, const auto& v) { return u + v; });
  });
  return record(
      {.name = "add", .inputs = {x, y}, .value = Tensor(std::move(out)), .vjp = [](const Tensor& g, Needs) {
         return std::array<Tensor, 2>{g, g};
       }});
}

Tensor Tensor::to(DType dtype) const {
  if (this->dtype() == dtype) return *this;
  Array out(shape(), dtype);
  visit_dtype(this->dtype(), [&](auto from) {
    visit_dtype(dtype, [&](auto into) {
      using T = decltype(from);
      using U = decltype(into);
      kernels::map_to(data<T>().data(), out.fill<U>().data(), size(),
                      [](T value) { return detail::convert<U>(value); });
    });
  });
  // The engine converts the gradient back.
  return record(
      {.name = "to", .inputs = {*this}, .value = Tensor(std::move(out)), .vjp = [](const Tensor& g, Needs) {
         return g;
       }});
}

}  // namespace retort
