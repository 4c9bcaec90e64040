// References for the op table: the definition of each operation as an xtensor expression in float64, and
// inputs for it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

#include "retort/framework/base/random.hpp"
#include "retort/framework/core/tensor.hpp"

namespace retort::tests {

using Doubles = std::vector<double>;
using Index = std::vector<std::int64_t>;

// ---- inputs ---------------------------------------------------------------------------------------------

/// Uniform float64 draws in [low, high).
inline Tensor uniform(const Shape& shape, std::uint64_t seed, double low = -2, double high = 2) {
  Generator generator(seed);
  Tensor draws = rand(shape, DType::float64, generator);
  for (double& value : draws.mutable_data<double>()) value = low + (high - low) * value;
  return draws;
}

/// Distinct values in random order, 0.13 apart, none at 0 or another kink; another offset gives other values,
/// so that no tie is near either.
inline Tensor spread(const Shape& shape, std::uint64_t seed = 1, double offset = 0.25) {
  Generator generator(seed);
  const std::int64_t n = element_count(shape);
  Doubles values;
  for (const std::int64_t k : random_permutation(n, generator))
    values.push_back((static_cast<double>(k - n / 2) + offset) * 0.13);
  return tensor(values, shape);
}

/// int64 draws in [0, bound).
inline Tensor indices(const Shape& shape, std::uint64_t seed, std::int64_t bound) {
  Generator generator(seed);
  std::vector<std::int64_t> values(static_cast<std::size_t>(element_count(shape)));
  for (std::int64_t& value : values)
    value = static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(bound)));
  return tensor(values, shape);
}

/// Rows along the last dimension that sum to one.
inline Tensor probabilities(const Shape& shape, std::uint64_t seed) {
  Tensor draws = uniform(shape, seed, 0.1, 1);
  const auto values = draws.mutable_data<double>();
  const std::size_t classes = shape.empty() ? 1 : static_cast<std::size_t>(shape.back());
  for (std::size_t row = 0; row < values.size(); row += classes) {
    const double total = std::accumulate(values.begin() + row, values.begin() + row + classes, 0.0);
    for (std::size_t i = 0; i < classes; ++i) values[row + i] /= total;
  }
  return draws;
}

// ---- indexing -------------------------------------------------------------------------------------------

/// Calls visit(index) for every index of an array of that shape, in row-major order.
void for_each_index(const Shape& shape, const std::function<void(const Index&)>& visit);

/// The element of x at an index, with NumPy's broadcasting: leading ones are dropped, extents of 1 repeated.
double at(const Tensor& x, const Index& index);

/// An array of that shape with f(index) as its elements.
Tensor build(const Shape& shape, const std::function<double(const Index&)>& f);

/// The same elements as int64; under another shape; the shape that a and b broadcast to; a dimension from the
/// front.
Tensor as_int64(const Tensor& x);
Tensor shaped(const Tensor& x, const Shape& shape);
Shape broadcast(const Shape& a, const Shape& b);
std::size_t wrapped(std::int64_t dim, const Shape& shape);

// ---- meanings -------------------------------------------------------------------------------------------

/// f(x) for each element, and f(a, b) for each pair, broadcast.
Tensor each(const Tensor& x, const std::function<double(double)>& f);
Tensor each(const Tensor& a, const Tensor& b, const std::function<double(double, double)>& f);

/// f(elements) over the reduced dimensions (none named: all).
Tensor reduced(const Tensor& x, const Index& dims, bool keepdim,
               const std::function<double(const Doubles&)>& f);

/// f(slice), of the same length, for each slice along `dim`; a scalar is one slice.
Tensor along(const Tensor& x, std::int64_t dim, const std::function<Doubles(const Doubles&)>& f);

double largest(const Doubles& x);
double total(const Doubles& x);
double log_sum_exp(const Doubles& x);
Doubles log_softmax_of(const Doubles& x);
Doubles softmax_of(const Doubles& x);

/// NumPy's matmul.
Tensor matrix_product(const Tensor& left, const Tensor& right);

}  // namespace retort::tests
