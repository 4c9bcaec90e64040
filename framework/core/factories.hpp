// Functions that create tensors from literals, constants and random draws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

class Generator;

namespace detail {
/// Element type of tensor literals: float, double, and int64 for every integer.
template <class T>
using Element = std::conditional_t<std::is_same_v<T, float>, float,
                                   std::conditional_t<std::is_floating_point_v<T>, double, std::int64_t>>;
void check_value_count(std::size_t count, const Shape& shape);

template <class T>
[[nodiscard]] Tensor make_tensor(const T* values, std::size_t count, const Shape& shape) {
  static_assert(std::is_arithmetic_v<T>, "a tensor's elements are numbers");
  check_value_count(count, shape);
  Array array(shape, dtype_of<Element<T>>, "tensor");
  auto* out = array.fill<Element<T>>().data();
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<Element<T>>(values[i]);
  return Access::make(std::move(array));
}
}  // namespace detail

/// A tensor of `values` in row-major order. T is float, double or an integer type (which gives int64).
/// Throws: ShapeError if their number does not match the shape.
template <class T>
[[nodiscard]] Tensor tensor(const std::vector<T>& values, const Shape& shape) {
  return detail::make_tensor(values.data(), values.size(), shape);
}
template <class T>
[[nodiscard]] Tensor tensor(std::initializer_list<T> values, const Shape& shape) {
  return detail::make_tensor(values.begin(), values.size(), shape);
}
/// A 1-dimensional tensor of `values`.
template <class T>
[[nodiscard]] Tensor tensor(const std::vector<T>& values) {
  return detail::make_tensor(values.data(), values.size(), {static_cast<std::int64_t>(values.size())});
}
template <class T>
[[nodiscard]] Tensor tensor(std::initializer_list<T> values) {
  return detail::make_tensor(values.begin(), values.size(), {static_cast<std::int64_t>(values.size())});
}

/// A tensor with uninitialised values.
[[nodiscard]] Tensor empty(const Shape& shape, DType dtype = DType::float32);
/// A tensor of zeros.
[[nodiscard]] Tensor zeros(const Shape& shape, DType dtype = DType::float32);
/// A tensor of ones.
[[nodiscard]] Tensor ones(const Shape& shape, DType dtype = DType::float32);
/// A tensor filled with `value`; int64 truncates fractions.
/// Throws: ValueError if `value` is out of the range of int64.
[[nodiscard]] Tensor full(const Shape& shape, Scalar value, DType dtype = DType::float32);
/// Uniform draws from [0, 1), from `generator` or the default generator.
/// Throws: TypeError if `dtype` is int64.
[[nodiscard]] Tensor rand(const Shape& shape, DType dtype = DType::float32);
[[nodiscard]] Tensor rand(const Shape& shape, DType dtype, Generator& generator);
/// Standard normal draws, from `generator` or the default generator.
/// Throws: TypeError if `dtype` is int64.
[[nodiscard]] Tensor randn(const Shape& shape, DType dtype = DType::float32);
[[nodiscard]] Tensor randn(const Shape& shape, DType dtype, Generator& generator);
/// Uniform integers from [low, high), from `generator` or the default generator. The upper bound is excluded:
///
///     const rt::Tensor dice = rt::randint(1, 7, {100});
///
/// Edge cases: `dtype` may be floating-point; the values are then integers too. Each integer has the same
/// probability, up to 2^-64.
///
/// Throws: ValueError unless low < high and the element type represents all integers between them: for
/// float32 both must lie within ±2^24, for float64 within ±2^53.
[[nodiscard]] Tensor randint(std::int64_t low, std::int64_t high, const Shape& shape,
                             DType dtype = DType::int64);
[[nodiscard]] Tensor randint(std::int64_t low, std::int64_t high, const Shape& shape, DType dtype,
                             Generator& generator);
/// The numbers 0, 1, …, n-1 in random order, int64 [n], from `generator` or the default generator.
/// Throws: ValueError if n is negative; ShapeError if no tensor can have n elements.
[[nodiscard]] Tensor randperm(std::int64_t n);
[[nodiscard]] Tensor randperm(std::int64_t n, Generator& generator);
/// 0, 1, …, n-1 [n].
/// Throws: ValueError if n is negative.
[[nodiscard]] Tensor arange(std::int64_t n, DType dtype = DType::int64);
/// The numbers start, start + step, … as far as they lie before `end`:
///
///     rt::arange(2, 8, 3);         // 2, 5
///     rt::arange(1.0, 0.0, -0.5);  // 1, 0.5
///
/// Shapes: the result is [⌈(end - start) / step⌉]. Its element type is `dtype`, or if absent int64 for three
/// integers and otherwise float32.
/// Edge cases: rounding may add a number where a fractional step divides the interval; linspace() is exact.
/// The numbers are computed as int64 or float64; above 2^24, float32 rounds integers and so repeats some.
/// Throws: ValueError if the step is 0 or leads away from `end`, a number is not finite in the result's type,
/// or one is not whole although `dtype` is int64.
[[nodiscard]] Tensor arange(Scalar start, Scalar end, Scalar step = 1, std::optional<DType> dtype = {});
/// `steps` evenly spaced numbers from `start` to `end`, both included [steps].
/// Throws: ValueError if `steps` is negative or an end is not finite in `dtype`; TypeError for int64.
[[nodiscard]] Tensor linspace(double start, double end, std::int64_t steps, DType dtype = DType::float32);
/// The identity matrix [n, n].
/// Throws: ValueError if n is negative.
[[nodiscard]] Tensor eye(std::int64_t n, DType dtype = DType::float32);
/// A tensor with uninitialised values and the shape and element type of `like`.
[[nodiscard]] Tensor empty_like(const Tensor& like);
/// A tensor of zeros with the shape and element type of `like`.
[[nodiscard]] Tensor zeros_like(const Tensor& like);
/// A tensor of ones with the shape and element type of `like`.
[[nodiscard]] Tensor ones_like(const Tensor& like);
/// As full(), with the shape and element type of `like`.
[[nodiscard]] Tensor full_like(const Tensor& like, Scalar value);
/// As rand(), with the shape and element type of `like`.
[[nodiscard]] Tensor rand_like(const Tensor& like);
/// As randn(), with the shape and element type of `like`.
[[nodiscard]] Tensor randn_like(const Tensor& like);

}  // namespace retort
