#include "retort/framework/core/array_ops.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "retort/framework/kernels/elementwise_impl.hpp"
#include "retort/framework/kernels/reduce.hpp"
#include "retort/framework/kernels/strided.hpp"

namespace retort::detail {

Array added(const char* operation, const Array& a, const Array& b) {
  const Shape shape = broadcast_shapes(operation, a.shape(), b.shape());
  Array out(shape, a.dtype(), operation);
  const kernels::Broadcast<2> plan({&a.shape(), &b.shape()}, shape);
  visit_dtype(a.dtype(), [&]<class T>(T) {
    kernels::zip(a.data<T>().data(), b.data<T>().data(), out.fill<T>().data(), plan,
                 [](const auto& x, const auto& y) { return x + y; });
  });
  return out;
}

void add_in_place(Array& a, const Array& b) {
  visit_dtype(a.dtype(), [&]<class T>(T) {
    T* sum = a.fill<T>().data();
    kernels::zip(sum, b.data<T>().data(), sum, kernels::Broadcast<2>::same_shape(a.size()),
                 [](const auto& x, const auto& y) { return x + y; });
  });
}

Array summed_to(const Array& x, const Shape& shape) {
  const Shape& from = x.shape();
  // Adjacent repeated dimensions are handled together, from last to first, so that offsets remain valid.
  Array value = x;
  Index inner = 1;
  for (std::size_t i = from.size(); i-- > 0;) {
    const bool repeated = extent_at(shape, i, from.size()) == 1 && from[i] != 1;
    if (!repeated) {
      inner *= from[i];
      continue;
    }
    Index n = from[i], outer = 1;
    while (i > 0 && extent_at(shape, i - 1, from.size()) == 1) n *= from[--i];
    for (std::size_t k = 0; k < i; ++k) outer *= from[k];
    Array sums({outer, inner}, x.dtype());
    visit_dtype(x.dtype(), [&]<class T>(T) {
      kernels::sum(value.data<T>().data(), sums.fill<T>().data(), {outer, n, inner});
    });
    value = std::move(sums);
  }
  return value.reshaped(shape);
}

Array repeated_to(const Array& x, const Shape& shape) {
  Array out(shape, x.dtype(), "broadcast_to");
  std::array<Index, Shape::max_dims> strides{};
  Index stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    const Index extent = extent_at(x.shape(), i, shape.size());
    strides[i] = extent == 1 ? 0 : stride;
    stride *= extent;
  }
  visit_dtype(x.dtype(), [&]<class T>(T) {
    const T* from = x.data<T>().data();
    T* to = out.fill<T>().data();
    if (x.size() == 1)
      std::fill_n(to, out.size(), *from);
    else
      kernels::strided_copy(from, to, static_cast<int>(shape.size()), shape.data(), strides.data());
  });
  return out;
}

Array converted(const Array& x, DType dtype) {
  Array out(x.shape(), dtype, "to");
  visit_dtype(x.dtype(), [&]<class T>(T) {
    visit_dtype(dtype, [&]<class U>(U) {
      kernels::map_to(x.data<T>().data(), out.fill<U>().data(), x.size(),
                      [](T value) { return convert<U>(value); });
    });
  });
  return out;
}

Array copied(const Array& x) {
  Array copy(x.shape(), x.dtype(), "clone");
  std::memcpy(copy.write(), x.read(), copy.byte_size());
  return copy;
}

}  // namespace retort::detail
