#include "retort/framework/kernels/product.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "retort/framework/base/threads.hpp"

namespace retort::kernels {
namespace {

constexpr Index grain = 32768;     // elements per thread and chunk
constexpr Index most_parts = 256;  // of one long row
constexpr Index width = 64;        // columns multiplied in parallel
constexpr Index lanes = 32;        // interleaved products of a row

template <class T>
using Wide = std::conditional_t<std::is_same_v<T, float>, double, T>;

/// Calls f(outer, first, columns) for strips of at most `width` columns of [outer, n, inner].
template <class F>
void for_strips(const Axis& axis, F f) {
  const Index strips = (axis.inner + width - 1) / width, row = axis.n * std::min(axis.inner, width);
  parallel_for(axis.outer * strips, std::max<Index>(1, grain / std::max<Index>(1, row)),
               [&](Index begin, Index end) {
                 for (Index i = begin; i < end; ++i) {
                   const Index first = i % strips * width;
                   f(i / strips, first, std::min(width, axis.inner - first));
                 }
               });
}
/// The number of elements in each part of a long row.
Index part_of(Index n) { return std::max(grain, (n / most_parts + grain) / grain * grain); }

template <class T>
Wide<T> product_of(const T* x, Index n) {
  Wide<T> products[lanes];
  std::fill_n(products, lanes, Wide<T>{1});
  const Index even = n / lanes * lanes;
  for (Index i = 0; i < even; i += lanes)
    for (Index k = 0; k < lanes; ++k) products[k] *= x[i + k];
  for (Index i = even; i < n; ++i) products[i - even] *= x[i];
  for (Index half = lanes / 2; half > 0; half /= 2)
    for (Index k = 0; k < half; ++k) products[k] *= products[k + half];
  return products[0];
}

/// A product as fraction · 2^exponent, whose intermediate values neither overflow nor underflow.
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
    const Index exponent = std::clamp<Index>(exponent_ + other.exponent_, -5000, 5000);
    return std::ldexp(fraction_ * other.fraction_, static_cast<int>(exponent));
  }

 private:
  double fraction_ = 1;
  Index exponent_ = 0;
};

/// g times the product of the other elements, those before and those after, for elements of any magnitude
/// that are `step` apart.
template <class T>
void gradient_of_any(const T* x, T g, T* dx, Index n, Index step) {
  std::vector<Product> before;
  before.reserve(static_cast<std::size_t>(n));
  Product product(static_cast<double>(g)), after(1);
  for (Index i = 0; i < n; product *= static_cast<double>(x[i++ * step])) before.push_back(product);
  for (Index i = n; i-- > 0; after *= static_cast<double>(x[i * step]))
    dx[i * step] = static_cast<T>(before[static_cast<std::size_t>(i)].times(after));
}

/// Products of ordinary elements as fraction · 2^exponent, for `width` columns. An ordinary float is finite
/// and not 0; an ordinary double is in [2^-room, 2^room].
template <class T>
class ColumnProducts {
 public:
  static constexpr bool is_float = std::is_same_v<T, float>;
  static constexpr int room = 200;

  ColumnProducts() {
    std::fill_n(fraction_, width, 1.0);
    std::fill_n(exponent_, width, 0);
    std::fill_n(odd_, width, 0);
  }
  /// Multiplies by n rows of x, which are `step` apart.
  void multiply(const T* x, Index n, Index step, Index columns) {
    for (Index i = 0; i < n; ++i, x += step) {
      for (Index k = 0; k < columns; ++k) {
        odd_[k] |= is_ordinary(x[k]) ? 0 : 1;
        fraction_[k] *= x[k];
      }
      if (i % 4 == 3) normalise();
    }
    normalise();
  }
  /// Multiplies the first column by the others.
  void fold() {
    for (Index half = width / 2; half > 0; half /= 2) {
      for (Index k = 0; k < half; ++k) {
        fraction_[k] *= fraction_[k + half];
        exponent_[k] += exponent_[k + half];
        odd_[k] |= odd_[k + half];
      }
      normalise();
    }
  }
  void multiply_first(const ColumnProducts& other) {
    fraction_[0] *= other.fraction_[0];
    exponent_[0] += other.exponent_[0];
    odd_[0] |= other.odd_[0];
    normalise();
  }
  /// True if g·product(k)/x is accurate for each element x of the column. For floats, product(k) limits its
  /// exponent to ±500, beyond which the gradient is infinite or 0.
  bool is_ordinary(Index k, T g) const {
    return odd_[k] == 0 && (is_float || (std::abs(exponent_[k]) <= room && (g == 0 || is_ordinary(g))));
  }
  double product(Index k) const {
    return fraction_[k] * std::ldexp(1.0, static_cast<int>(std::clamp<Index>(exponent_[k], -500, 500)));
  }

 private:
  static bool is_ordinary(T x) {
    constexpr T least = is_float ? std::numeric_limits<T>::denorm_min() : T(0x1p-200);
    constexpr T most = is_float ? std::numeric_limits<T>::max() : T(0x1p+200);
    return std::abs(x) >= least && std::abs(x) <= most;
  }
  void normalise() {
    constexpr std::uint64_t ones = 2047, bias = 1023;
    for (Index k = 0; k < width; ++k) {
      const auto bits = std::bit_cast<std::uint64_t>(fraction_[k]);
      exponent_[k] += static_cast<Index>((bits >> 52) & ones) - static_cast<Index>(bias);
      fraction_[k] = std::bit_cast<double>((bits & ~(ones << 52)) | (bias << 52));
    }
  }
  double fraction_[width];
  Index exponent_[width], odd_[width];
};

/// The product of a row, in column 0.
template <class T>
ColumnProducts<T> factors_of(const T* x, Index n) {
  ColumnProducts<T> columns;
  columns.multiply(x, n / width, width, width);
  columns.multiply(x + n / width * width, 1, 0, n % width);
  columns.fold();
  return columns;
}

template <class T>
void row_gradient(const T* x, T g, T* dx, Index n) {
  ColumnProducts<T> columns;
  if (n <= 2 * grain) {
    columns = factors_of(x, n);
  } else {
    const Index part = part_of(n);
    std::vector<ColumnProducts<T>> parts(static_cast<std::size_t>((n + part - 1) / part));
    parallel_for(n, part, [&](Index begin, Index end) {
      parts[static_cast<std::size_t>(begin / part)] = factors_of(x + begin, end - begin);
    });
    for (const ColumnProducts<T>& one : parts) columns.multiply_first(one);
  }
  if (!columns.is_ordinary(0, g)) return gradient_of_any(x, g, dx, n, 1);
  const double product = columns.product(0), upstream = static_cast<double>(g);
  parallel_for(n, grain, [=](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      dx[i] = static_cast<T>(upstream * (product / static_cast<double>(x[i])));
  });
}

}  // namespace

template <class T>
void product(const T* x, T* y, const Axis& axis) {
  const auto [outer, n, inner] = axis;
  if (inner == 1 && n > 2 * grain) {
    const Index part = part_of(n);
    for (Index row = 0; row < outer; ++row) {
      Wide<T> parts[most_parts], total = 1;
      parallel_for(n, part, [&](Index begin, Index end) {
        parts[begin / part] = product_of(x + row * n + begin, end - begin);
      });
      for (Index i = 0; i * part < n; ++i) total *= parts[i];
      y[row] = static_cast<T>(total);
    }
  } else if (inner == 1) {
    parallel_for(outer, std::max<Index>(1, grain / n), [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) y[row] = static_cast<T>(product_of(x + row * n, n));
    });
  } else {
    for_strips(axis, [&](Index o, Index first, Index columns) {
      const T* from = x + o * n * inner + first;
      Wide<T> products[width];
      std::fill_n(products, width, Wide<T>{1});
      Index i = 0;
      if constexpr (!std::is_same_v<T, double>) {  // four floats overflow no double
        for (; i + 4 <= n; i += 4, from += 4 * inner)
          for (Index k = 0; k < columns; ++k) {
            const auto at = [=](Index row) { return static_cast<Wide<T>>(from[row * inner + k]); };
            products[k] *= (at(0) * at(1)) * (at(2) * at(3));
          }
      }
      for (; i < n; ++i, from += inner)
        for (Index k = 0; k < columns; ++k) products[k] *= from[k];
      for (Index k = 0; k < columns; ++k) y[o * inner + first + k] = static_cast<T>(products[k]);
    });
  }
}

template <class T>
void product_backward(const T* x, const T* g, T* dx, const Axis& axis) {
  const auto [outer, n, inner] = axis;
  if (inner == 1 && n > 2 * grain) {
    for (Index row = 0; row < outer; ++row) row_gradient(x + row * n, g[row], dx + row * n, n);
  } else if (inner == 1) {
    parallel_for(outer, std::max<Index>(1, grain / n), [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) row_gradient(x + row * n, g[row], dx + row * n, n);
    });
  } else {
    for_strips(axis, [&](Index o, Index first, Index columns) {
      const Index offset = o * n * inner + first;
      const T* const upstream = g + o * inner + first;
      ColumnProducts<T> products;
      products.multiply(x + offset, n, inner, columns);
      double factors[width], gradients[width];
      for (Index k = 0; k < columns; ++k) {
        factors[k] = products.product(k);
        gradients[k] = static_cast<double>(upstream[k]);
      }
      for (Index i = 0, at = offset; i < n; ++i, at += inner)
        for (Index k = 0; k < columns; ++k)
          dx[at + k] = static_cast<T>(gradients[k] * (factors[k] / static_cast<double>(x[at + k])));
      for (Index k = 0; k < columns; ++k)
        if (!products.is_ordinary(k, upstream[k]))
          gradient_of_any(x + offset + k, upstream[k], dx + offset + k, n, inner);
    });
  }
}

template void product(const float*, float*, const Axis&);
template void product(const double*, double*, const Axis&);
template void product(const std::int64_t*, std::int64_t*, const Axis&);
template void product_backward(const float*, const float*, float*, const Axis&);
template void product_backward(const double*, const double*, double*, const Axis&);

}  // namespace retort::kernels
