#include "retort/framework/core/factories.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/draws.hpp"
#include "retort/framework/core/require.hpp"

namespace retort {
namespace {

/// make(shape, dtype) of `like`.
template <class Make>
Tensor alike(const char* operation, const Tensor& like, Make make) {
  detail::require_defined(operation, like);
  return make(like.shape(), like.dtype());
}

/// Reserves blocks of `generator`, or of the default generator if it is null, and returns where they begin.
Generator take(Generator* generator, std::uint64_t blocks) {
  if (!generator) return detail::take_from_default(blocks);
  const Generator source = *generator;
  generator->advance(blocks);
  return source;
}

template <class Fill>
Tensor draw(const char* operation, const Shape& shape, DType dtype, Generator* generator, Fill fill) {
  if (!is_floating_point(dtype))
    throw TypeError(message("{}: draws are float32 or float64, not {}", operation, dtype));
  Array array(shape, dtype, operation);
  const Generator source = take(generator, detail::blocks_for(array.size(), dtype));
  visit_floating(dtype, [&](auto zero) { fill(array.fill<decltype(zero)>(), source); });
  return detail::Access::make(std::move(array));
}

Tensor uniform(const char* operation, const Shape& shape, DType dtype, Generator* generator) {
  return draw(operation, shape, dtype, generator,
              [](auto out, const Generator& source) { detail::fill_uniform(out, source, 0, 1); });
}

Tensor integers(std::int64_t low, std::int64_t high, const Shape& shape, DType dtype, Generator* generator) {
  const std::int64_t most = dtype == DType::float32 ? 1 << 24 : std::int64_t{1} << 53;
  if (low >= high) throw ValueError(message("randint: low is {} and high {}; low must be less", low, high));
  if (dtype != DType::int64 && (low < -most || high > most))
    throw ValueError(
        message("randint: {} cannot represent all integers from {} to {}; use int64", dtype, low, high));
  Array array(shape, dtype, "randint");
  const Generator source = take(generator, static_cast<std::uint64_t>(array.size()));
  visit_dtype(dtype, [&]<class T>(T) { detail::fill_integers(array.fill<T>(), source, low, high); });
  return detail::Access::make(std::move(array));
}

Tensor permutation(std::int64_t n, Generator* generator) {
  if (n < 0) throw ValueError(message("randperm: n is {}; it must not be negative", n));
  Array array({n}, DType::int64, "randperm");
  const auto out = array.fill<std::int64_t>();
  // Draws may be rejected, with a probability below n² / 2^64; then `reserved` passes the end of its blocks.
  Generator reserved;
  if (!generator)
    reserved = detail::take_from_default(static_cast<std::uint64_t>(std::max<std::int64_t>(n, 1) - 1));
  detail::fill_permutation(out, generator ? *generator : reserved);
  return detail::Access::make(std::move(array));
}

Tensor normal(const char* operation, const Shape& shape, DType dtype, Generator* generator) {
  return draw(operation, shape, dtype, generator,
              [](auto out, const Generator& source) { detail::fill_normal(out, source); });
}

Tensor filled(const char* operation, const Shape& shape, Scalar value, DType dtype) {
  if (dtype == DType::int64 && !value.integral() && !(value.value() >= -0x1p63 && value.value() < 0x1p63))
    throw ValueError(message("{}: {} is not an int64; give a number of its range, or a floating-point dtype",
                             operation, value.value()));
  Array array(shape, dtype, operation);
  visit_dtype(dtype, [&]<class T>(T) {
    const auto out = array.fill<T>();
    std::fill(out.begin(), out.end(), value.as<T>());
  });
  return detail::Access::make(std::move(array));
}

/// The numbers first + i·stride; two's complement, so that intermediate results may overflow.
Tensor integer_sequence(std::uint64_t first, std::uint64_t stride, std::int64_t n, DType dtype) {
  Array array({n}, dtype, "arange");
  visit_dtype(dtype, [&]<class T>(T) {
    T* out = array.fill<T>().data();
    for (std::int64_t i = 0; i < n; ++i)
      out[i] = static_cast<T>(static_cast<std::int64_t>(first + static_cast<std::uint64_t>(i) * stride));
  });
  return detail::Access::make(std::move(array));
}

}  // namespace

void detail::check_value_count(std::size_t count, const Shape& shape) {
  require_shape("tensor", shape);
  if (static_cast<std::int64_t>(count) != element_count(shape))
    throw ShapeError(message("tensor: {} cannot fill shape {}, which has {}", detail::counted(count, "value"),
                             shape, detail::counted(element_count(shape), "element")));
}

Tensor empty(const Shape& shape, DType dtype) {
  detail::require_shape("empty", shape);
  // If memory runs out, this is probably an operation's result: the error does not name empty().
  return detail::Access::make(Array(shape, dtype));
}

Tensor full(const Shape& shape, Scalar value, DType dtype) { return filled("full", shape, value, dtype); }

Tensor zeros(const Shape& shape, DType dtype) {
  Array array(shape, dtype, "zeros");
  std::memset(array.write(), 0, array.byte_size());
  return detail::Access::make(std::move(array));
}

Tensor ones(const Shape& shape, DType dtype) { return filled("ones", shape, 1, dtype); }

Tensor arange(std::int64_t n, DType dtype) {
  if (n < 0) throw ValueError(message("arange: n is {}; it must not be negative", n));
  return integer_sequence(0, 1, n, dtype);
}

Tensor arange(Scalar start, Scalar end, Scalar step, std::optional<DType> dtype) {
  const double from = start.value(), to = end.value(), by = step.value(),
               rounded = std::ceil((to - from) / by);
  const auto text = [&](const char* rule) {
    return message("arange: start is {}, end {} and step {}; {}", from, to, by, rule);
  };
  if (!std::isfinite(rounded) || rounded >= 0x1p63)
    throw ValueError(text("they must be finite, the step not 0, and the result shorter than 2^63"));
  if ((to - from) * (by > 0 ? 1 : -1) < 0) throw ValueError(text("the step must lead from start to end"));
  const bool integral = start.integral() && end.integral() && step.integral();
  const DType type = dtype.value_or(integral ? DType::int64 : DType::float32);
  const auto whole = [](double number) { return std::trunc(number) == number && std::abs(number) < 0x1p63; };
  if (type == DType::int64 && !(integral || (whole(from) && whole(to) && whole(by))))
    throw ValueError(
        text("for int64 they must be whole numbers of its range; or give a floating-point dtype"));
  if (integral || type == DType::int64) {  // a double cannot hold every int64
    const auto bits = [](Scalar number) { return static_cast<std::uint64_t>(number.as<std::int64_t>()); };
    const std::uint64_t first = bits(start), last = bits(end), stride = bits(step);
    const std::uint64_t length = by > 0 ? last - first : first - last, size = by > 0 ? stride : -stride;
    return integer_sequence(first, stride,
                            static_cast<std::int64_t>(length / size + (length % size != 0 ? 1 : 0)), type);
  }
  const auto n = detail::convert<std::int64_t>(rounded);
  const double most =
      type == DType::float32 ? std::numeric_limits<float>::max() : std::numeric_limits<double>::max();
  if (n > 0 && !(std::abs(from) <= most && std::abs(from + static_cast<double>(n - 1) * by) <= most))
    throw ValueError(text("a number is infinite in the element type; give smaller ones, or dtype float64"));
  Array array({n}, type, "arange");
  visit_floating(type, [&]<class T>(T) {
    T* out = array.fill<T>().data();
    for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(from + static_cast<double>(i) * by);
  });
  return detail::Access::make(std::move(array));
}

Tensor linspace(double start, double end, std::int64_t steps, DType dtype) {
  if (steps < 0) throw ValueError(message("linspace: steps is {}; it must not be negative", steps));
  if (!is_floating_point(dtype))
    throw TypeError(message("linspace: the numbers are float32 or float64, not {}", dtype));
  Array array({steps}, dtype, "linspace");
  visit_floating(dtype, [&]<class T>(T) {
    constexpr double most = std::numeric_limits<T>::max();
    if (!(std::abs(start) <= most && std::abs(end) <= most))
      throw ValueError(
          message("linspace: start is {} and end {}; both must be finite numbers of {}", start, end, dtype));
    T* out = array.fill<T>().data();
    // Half of a step, because `end - start` may overflow.
    const double half = steps > 1 ? (end / 2 - start / 2) / static_cast<double>(steps - 1) : 0;
    // From both ends, so that the last number is exactly `end`.
    for (std::int64_t i = 0; i < steps; ++i)
      out[i] = static_cast<T>(i < (steps + 1) / 2 ? start + static_cast<double>(2 * i) * half
                                                  : end - static_cast<double>(2 * (steps - 1 - i)) * half);
  });
  return detail::Access::make(std::move(array));
}

Tensor eye(std::int64_t n, DType dtype) {
  if (n < 0) throw ValueError(message("eye: n is {}; it must not be negative", n));
  Array array({n, n}, dtype, "eye");
  visit_dtype(dtype, [&]<class T>(T) {
    T* out = array.fill<T>().data();
    for (std::int64_t i = 0; i < n * n; ++i) out[i] = T(i % (n + 1) == 0 ? 1 : 0);
  });
  return detail::Access::make(std::move(array));
}

Tensor rand(const Shape& shape, DType dtype) { return uniform("rand", shape, dtype, nullptr); }
Tensor rand(const Shape& shape, DType dtype, Generator& generator) {
  return uniform("rand", shape, dtype, &generator);
}
Tensor randn(const Shape& shape, DType dtype) { return normal("randn", shape, dtype, nullptr); }
Tensor randn(const Shape& shape, DType dtype, Generator& generator) {
  return normal("randn", shape, dtype, &generator);
}

Tensor randint(std::int64_t low, std::int64_t high, const Shape& shape, DType dtype) {
  return integers(low, high, shape, dtype, nullptr);
}
Tensor randint(std::int64_t low, std::int64_t high, const Shape& shape, DType dtype, Generator& generator) {
  return integers(low, high, shape, dtype, &generator);
}

Tensor randperm(std::int64_t n) { return permutation(n, nullptr); }
Tensor randperm(std::int64_t n, Generator& generator) { return permutation(n, &generator); }

Tensor empty_like(const Tensor& like) { return alike("empty_like", like, empty); }
Tensor zeros_like(const Tensor& like) { return alike("zeros_like", like, zeros); }
Tensor ones_like(const Tensor& like) { return alike("ones_like", like, ones); }
Tensor full_like(const Tensor& like, Scalar value) {
  return alike("full_like", like,
               [&](const Shape& shape, DType dtype) { return filled("full_like", shape, value, dtype); });
}
Tensor rand_like(const Tensor& like) {
  return alike("rand_like", like,
               [](const Shape& shape, DType dtype) { return uniform("rand_like", shape, dtype, nullptr); });
}
Tensor randn_like(const Tensor& like) {
  return alike("randn_like", like,
               [](const Shape& shape, DType dtype) { return normal("randn_like", shape, dtype, nullptr); });
}

}  // namespace retort
