#include "retort/framework/core/factories.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/draws.hpp"

namespace retort {
namespace {

template <class Fill>
Tensor draw(const char* operation, const Shape& shape, DType dtype, Generator* generator, Fill fill) {
  if (!is_floating_point(dtype))
    throw TypeError(message("{}: draws are float32 or float64, not {}", operation, dtype));
  Array array(shape, dtype);
  const std::uint64_t blocks = detail::blocks_for(array.size(), dtype);
  Generator source = generator ? *generator : detail::take_from_default(blocks);
  if (generator) generator->advance(blocks);
  visit_floating(dtype, [&](auto zero) { fill(array.fill<decltype(zero)>(), source); });
  return detail::Access::make(std::move(array));
}

Tensor uniform(const Shape& shape, DType dtype, Generator* generator) {
  return draw("rand", shape, dtype, generator,
              [](auto out, const Generator& source) { detail::fill_uniform(out, source, 0, 1); });
}

Tensor normal(const Shape& shape, DType dtype, Generator* generator) {
  return draw("randn", shape, dtype, generator,
              [](auto out, const Generator& source) { detail::fill_normal(out, source); });
}

}  // namespace

void detail::check_value_count(std::size_t count, const Shape& shape) {
  if (static_cast<std::int64_t>(count) != element_count(shape))
    throw ShapeError(message("tensor: {} cannot fill shape {}, which has {}", detail::counted(count, "value"),
                             shape, detail::counted(element_count(shape), "element")));
}

Tensor empty(const Shape& shape, DType dtype) { return detail::Access::make(Array(shape, dtype)); }

Tensor full(const Shape& shape, Scalar value, DType dtype) {
  if (dtype == DType::int64 && !value.integral() && !(value.value() >= -0x1p63 && value.value() < 0x1p63))
    throw ValueError(message(
        "full: {} is not an int64; give a number of its range, or a floating-point dtype", value.value()));
  Array array(shape, dtype);
  visit_dtype(dtype, [&]<class T>(T) {
    const auto out = array.fill<T>();
    std::fill(out.begin(), out.end(), value.as<T>());
  });
  return detail::Access::make(std::move(array));
}

Tensor zeros(const Shape& shape, DType dtype) {
  Array array(shape, dtype);
  std::memset(array.write(), 0, array.byte_size());
  return detail::Access::make(std::move(array));
}

Tensor ones(const Shape& shape, DType dtype) { return full(shape, 1, dtype); }

Tensor arange(std::int64_t n, DType dtype) {
  if (n < 0) throw ValueError(message("arange: n is {}; it must not be negative", n));
  Array array({n}, dtype);
  visit_dtype(dtype, [&]<class T>(T) {
    const auto out = array.fill<T>();
    std::iota(out.begin(), out.end(), T{0});
  });
  return detail::Access::make(std::move(array));
}

Tensor rand(const Shape& shape, DType dtype) { return uniform(shape, dtype, nullptr); }
Tensor rand(const Shape& shape, DType dtype, Generator& generator) {
  return uniform(shape, dtype, &generator);
}
Tensor randn(const Shape& shape, DType dtype) { return normal(shape, dtype, nullptr); }
Tensor randn(const Shape& shape, DType dtype, Generator& generator) {
  return normal(shape, dtype, &generator);
}

Tensor empty_like(const Tensor& like) { return empty(like.shape(), like.dtype()); }
Tensor zeros_like(const Tensor& like) { return zeros(like.shape(), like.dtype()); }
Tensor ones_like(const Tensor& like) { return ones(like.shape(), like.dtype()); }
Tensor full_like(const Tensor& like, Scalar value) { return full(like.shape(), value, like.dtype()); }
Tensor rand_like(const Tensor& like) { return rand(like.shape(), like.dtype()); }
Tensor randn_like(const Tensor& like) { return randn(like.shape(), like.dtype()); }

}  // namespace retort
