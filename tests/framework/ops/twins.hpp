// Plain twins for the op table: double loops that say what an operation means, and inputs to try it on.
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
template <class Visit>
void for_each_index(const Shape& shape, Visit&& visit) {
  Index index(shape.size(), 0);
  for (std::int64_t n = element_count(shape); n > 0; --n) {
    visit(std::as_const(index));
    for (std::size_t d = shape.size(); d-- > 0;) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
}

/// The element of x at an index, with NumPy's broadcasting: leading ones are dropped, extents of 1 repeated.
inline double at(const Tensor& x, const Index& index) {
  std::int64_t flat = 0;
  const std::size_t extra = index.size() - x.shape().size();
  for (std::size_t d = 0; d < x.shape().size(); ++d)
    flat = flat * x.shape()[d] + (x.shape()[d] == 1 ? 0 : index[d + extra]);
  return visit_dtype(x.dtype(), [&](auto zero) {
    return static_cast<double>(x.data<decltype(zero)>()[static_cast<std::size_t>(flat)]);
  });
}

/// An array of that shape with f(index) as its elements.
template <class F>
Tensor build(const Shape& shape, F&& f) {
  Doubles values;
  for_each_index(shape, [&](const Index& index) { values.push_back(f(index)); });
  return tensor(values, shape);
}

inline Tensor as_int64(const Tensor& x) {
  const Doubles values = x.values<double>();
  return tensor(std::vector<std::int64_t>(values.begin(), values.end()), x.shape());
}

inline Shape broadcast(const Shape& a, const Shape& b) {
  if (a.size() < b.size()) return broadcast(b, a);
  Shape result = a;
  for (std::size_t d = 0; d < b.size(); ++d) {
    std::int64_t& extent = result[a.size() - b.size() + d];
    if (extent == 1) extent = b[d];
  }
  return result;
}

inline std::size_t wrapped(std::int64_t dim, const Shape& shape) {
  return static_cast<std::size_t>(dim < 0 ? dim + static_cast<std::int64_t>(shape.size()) : dim);
}

// ---- loops ----------------------------------------------------------------------------------------------

/// f(x) for each element.
template <class F>
Tensor each(const Tensor& x, F&& f) {
  return build(x.shape(), [&](const Index& i) { return f(at(x, i)); });
}
/// f(a, b) for each pair, broadcast.
template <class F>
Tensor each(const Tensor& a, const Tensor& b, F&& f) {
  return build(broadcast(a.shape(), b.shape()), [&](const Index& i) { return f(at(a, i), at(b, i)); });
}

/// f(elements) over the reduced dimensions (none named: all).
template <class F>
Tensor reduced(const Tensor& x, const std::vector<std::int64_t>& dims, bool keepdim, F&& f) {
  const Shape& shape = x.shape();
  std::vector<bool> gone(shape.size(), dims.empty());
  for (const std::int64_t dim : dims) gone[wrapped(dim, shape)] = true;
  Shape kept = shape, result;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (gone[d]) kept[d] = 1;
    if (keepdim || !gone[d]) result.push_back(kept[d]);
  }
  Doubles values;
  for_each_index(kept, [&](const Index& place) {
    Doubles elements;
    for_each_index(shape, [&](const Index& index) {
      for (std::size_t d = 0; d < shape.size(); ++d)
        if (!gone[d] && index[d] != place[d]) return;
      elements.push_back(at(x, index));
    });
    values.push_back(f(elements));
  });
  return tensor(values, result);
}

/// f(slice), of the same length, for each slice along `dim`; a scalar is one slice.
template <class F>
Tensor along(const Tensor& x, std::int64_t dim, F&& f) {
  if (x.dim() == 0) return tensor(f(x.values<double>()), {});
  const std::size_t d = wrapped(dim, x.shape());
  return build(x.shape(), [&](const Index& index) {
    Doubles slice;
    Index other = index;
    for (other[d] = 0; other[d] < x.shape()[d]; ++other[d]) slice.push_back(at(x, other));
    return f(slice)[static_cast<std::size_t>(index[d])];
  });
}

/// The same elements under another shape.
inline Tensor shaped(const Tensor& x, const Shape& shape) { return tensor(x.values<double>(), shape); }

inline double largest(const Doubles& x) {
  return x.empty() ? -INFINITY : *std::max_element(x.begin(), x.end());
}
inline double total(const Doubles& x) { return std::accumulate(x.begin(), x.end(), 0.0); }

inline double log_sum_exp(const Doubles& x) {
  const double most = largest(x);
  if (std::isinf(most)) return most;
  double sum = 0;
  for (const double value : x) sum += std::exp(value - most);
  return most + std::log(sum);
}
inline Doubles log_softmax_of(Doubles x) {
  const double lse = log_sum_exp(x);
  for (double& value : x) value -= lse;
  return x;
}
inline Doubles softmax_of(Doubles x) {
  x = log_softmax_of(x);
  for (double& value : x) value = std::exp(value);
  return x;
}

/// NumPy's matmul.
inline Tensor matrix_product(const Tensor& left, const Tensor& right) {
  const bool vector_left = left.dim() == 1, vector_right = right.dim() == 1;
  const Tensor a = vector_left ? shaped(left, {1, left.size()}) : left;
  const Tensor b = vector_right ? shaped(right, {right.size(), 1}) : right;
  const auto outer = [](const Tensor& x) { return Shape(x.shape().begin(), x.shape().end() - 2); };
  Shape shape = broadcast(outer(a), outer(b));
  const std::int64_t inner = a.size(-1);
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-1));
  const Tensor product = build(shape, [&](const Index& index) {
    Index in_a = index, in_b = index;
    double sum = 0;
    for (std::int64_t k = 0; k < inner; ++k) {
      in_a.back() = in_b[index.size() - 2] = k;
      // at() repeats an extent of 1, which a matrix may have too: k and the row are 0 then anyway.
      sum += at(a, in_a) * at(b, in_b);
    }
    return sum;
  });
  if (vector_right) shape.pop_back();
  if (vector_left) shape.erase(shape.end() - (vector_right ? 1 : 2));
  return shaped(product, shape);
}

}  // namespace retort::tests
