#include "retort/framework/kernels/reduce.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/simd_impl.hpp"

namespace retort::kernels {
namespace {

constexpr std::int64_t grain = 32768;     // elements that one thread takes at a time
constexpr std::int64_t block = 1024;      // elements summed in T before they are added to a double
constexpr std::int64_t most_parts = 256;  // parts of one long row
constexpr std::int64_t width = 256;       // columns summed side by side
constexpr std::int64_t row_block = 64;    // rows of columns summed in T before they are added to a double

std::int64_t rows_per_chunk(std::int64_t row) {
  return std::max<std::int64_t>(1, grain / std::max<std::int64_t>(1, row));
}

/// x[0] + … + x[n - 1].
template <class T>
double row_sum(const T* x, std::int64_t n) {
  constexpr std::int64_t step = 4 * lanes<T>;
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += block) {
    const std::int64_t end = std::min(n, begin + block);
    Batch<T> a(T{0}), b(T{0}), c(T{0}), d(T{0});
    std::int64_t i = begin;
    for (; i + step <= end; i += step) {
      a += load(x + i);
      b += load(x + i + lanes<T>);
      c += load(x + i + 2 * lanes<T>);
      d += load(x + i + 3 * lanes<T>);
    }
    for (; i + lanes<T> <= end; i += lanes<T>) a += load(x + i);
    if (i < end) b += load_partial(x + i, end - i, T{0});
    total += static_cast<double>(sum_lanes<T>((a + b) + (c + d)));
  }
  return total;
}
std::int64_t row_sum(const std::int64_t* x, std::int64_t n) {
  std::int64_t total = 0;
  for (std::int64_t i = 0; i < n; ++i) total += x[i];
  return total;
}

/// The sum of part(begin, end) over the parts of a long row, computed on all threads and added in order.
template <class R, class F>
R sum_in_parts(std::int64_t n, F part) {
  if (n <= 2 * grain) return part(0, n);
  const std::int64_t chunk = std::max(grain, (n / most_parts + grain) / grain * grain);
  R parts[most_parts];
  parallel_for(n, chunk,
               [&](std::int64_t begin, std::int64_t end) { parts[begin / chunk] = part(begin, end); });
  R total{};
  for (std::int64_t i = 0; i * chunk < n; ++i) total += parts[i];
  return total;
}

/// total[j] = sum over `rows` of x[row·stride + j], j < columns <= width.
template <class T, class R>
void column_sums(const T* x, std::int64_t stride, std::int64_t rows, std::int64_t columns, R* total) {
  std::fill_n(total, columns, R{0});
  for (std::int64_t begin = 0; begin < rows; begin += row_block) {
    const std::int64_t end = std::min(rows, begin + row_block);
    T sums[width];
    std::fill_n(sums, columns, T{0});
    std::int64_t i = begin;
    for (; i + 4 <= end; i += 4) {
      const T *a = x + i * stride, *b = a + stride, *c = b + stride, *d = c + stride;
      for (std::int64_t j = 0; j < columns; ++j) sums[j] += (a[j] + b[j]) + (c[j] + d[j]);
    }
    for (; i < end; ++i)
      for (std::int64_t j = 0; j < columns; ++j) sums[j] += x[i * stride + j];
    for (std::int64_t j = 0; j < columns; ++j) total[j] += static_cast<R>(sums[j]);
  }
}

/// Calls f(outer, first, columns) for the strips of at most `width` columns of [outer, n, inner].
template <class F>
void for_columns(std::int64_t outer, std::int64_t n, std::int64_t inner, F f) {
  const std::int64_t strips = (inner + width - 1) / width;
  parallel_for(outer * strips, rows_per_chunk(n * std::min(inner, width)),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) {
                   const std::int64_t first = i % strips * width;
                   f(i / strips, first, std::min(width, inner - first));
                 }
               });
}

template <class T>
using Total = std::conditional_t<std::is_floating_point_v<T>, double, std::int64_t>;

template <class T>
T scaled(Total<T> total, [[maybe_unused]] double scale) {
  if constexpr (std::is_floating_point_v<T>)
    return static_cast<T>(total * scale);
  else
    return total;
}

/// Few long columns: the rows of each strip are cut into parts.
template <class T>
void sum_long_columns(const T* x, T* y, std::int64_t n, std::int64_t inner, double scale) {
  constexpr std::int64_t parts = 16;
  const std::int64_t chunk = (n + parts - 1) / parts;
  for (std::int64_t first = 0; first < inner; first += width) {
    const std::int64_t columns = std::min(width, inner - first);
    Total<T> totals[parts][width];
    parallel_for(n, chunk, [&](std::int64_t begin, std::int64_t end) {
      column_sums(x + begin * inner + first, inner, end - begin, columns, totals[begin / chunk]);
    });
    for (std::int64_t j = 0; j < columns; ++j) {
      Total<T> total{};
      for (std::int64_t i = 0; i * chunk < n; ++i) total += totals[i][j];
      y[first + j] = scaled<T>(total, scale);
    }
  }
}

/// The maximum of a row with Sign 1, the minimum with Sign -1; NaN if there is one.
template <int Sign, class T>
T row_extremum(const T* x, std::int64_t n) {
  if constexpr (std::is_floating_point_v<T>) {
    const auto sign = [](const Batch<T>& v) { return Sign > 0 ? v : -v; };
    Batch<T> a(-infinity<T>), b(-infinity<T>);
    Mask<T> nan(false);
    std::int64_t i = 0;
    for (; i + 2 * lanes<T> <= n; i += 2 * lanes<T>) {
      const Batch<T> u = sign(load(x + i)), v = sign(load(x + i + lanes<T>));
      nan = nan | xsimd::isnan(u) | xsimd::isnan(v);
      a = max_of<T>(u, a);
      b = max_of<T>(v, b);
    }
    for (; i < n; i += lanes<T>) {
      const Batch<T> v =
          sign(i + lanes<T> <= n ? load(x + i)
                                 : load_partial(x + i, n - i, Sign > 0 ? -infinity<T> : infinity<T>));
      nan = nan | xsimd::isnan(v);
      a = max_of<T>(v, a);
    }
    return xsimd::any(nan) ? std::numeric_limits<T>::quiet_NaN() : T{Sign} * max_lanes<T>(max_of<T>(a, b));
  } else {
    T best = x[0];
    for (std::int64_t i = 1; i < n; ++i) best = Sign > 0 ? std::max(best, x[i]) : std::min(best, x[i]);
    return best;
  }
}

/// Whether `value` replaces `best`: it is greater (less with Sign -1), or the first NaN.
template <int Sign, class T>
bool replaces(T value, T best) {
  return (Sign > 0 ? value > best : value < best) || (value != value && best == best);
}

template <int Sign, class T>
void extremum(const T* x, T* y, std::int64_t outer, std::int64_t n, std::int64_t inner) {
  if (inner == 1) {
    parallel_for(outer, rows_per_chunk(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) y[row] = row_extremum<Sign>(x + row * n, n);
    });
    return;
  }
  for_columns(outer, n, inner, [&](std::int64_t o, std::int64_t first, std::int64_t columns) {
    const T* from = x + o * n * inner + first;
    T* best = y + o * inner + first;
    std::copy_n(from, columns, best);
    for (std::int64_t i = 1; i < n; ++i)
      for (std::int64_t j = 0; j < columns; ++j) {
        const T value = from[i * inner + j];
        best[j] = replaces<Sign>(value, best[j]) ? value : best[j];
      }
  });
}

template <class T>
std::int64_t row_argmax(const T* x, std::int64_t n) {
  if constexpr (std::is_floating_point_v<T>) {
    const T best = row_extremum<1>(x, n);
    std::int64_t i = 0;
    if (best != best) {
      while (x[i] == x[i]) ++i;
      return i;
    }
    while (i + lanes<T> <= n && !xsimd::any(load(x + i) == Batch<T>(best))) i += lanes<T>;
    while (x[i] != best) ++i;
    return i;
  } else {
    return std::max_element(x, x + n) - x;
  }
}

/// The sum of term(i) over i < n, in double, in sixteen interleaved sums.
template <class F>
double sum_terms(std::int64_t n, F term) {
  double sums[16] = {};
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int k = 0; k < 16; ++k) sums[k] += term(i + k);
  for (int k = 0; i < n; ++i, ++k) sums[k] += term(i);
  for (int half = 8; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) sums[k] += sums[k + half];
  return sums[0];
}

}  // namespace

template <class T>
void sum(const T* x, T* y, std::int64_t outer, std::int64_t n, std::int64_t inner, double scale) {
  if (inner == 1 && n > 2 * grain) {
    for (std::int64_t row = 0; row < outer; ++row)
      y[row] = scaled<T>(sum_in_parts<Total<T>>(n,
                                                [&](std::int64_t begin, std::int64_t end) {
                                                  return row_sum(x + row * n + begin, end - begin);
                                                }),
                         scale);
  } else if (inner == 1) {
    parallel_for(outer, rows_per_chunk(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) y[row] = scaled<T>(row_sum(x + row * n, n), scale);
    });
  } else if (outer * ((inner + width - 1) / width) < 8 && n >= 1024 && n * inner > 2 * grain) {
    for (std::int64_t o = 0; o < outer; ++o)
      sum_long_columns(x + o * n * inner, y + o * inner, n, inner, scale);
  } else {
    for_columns(outer, n, inner, [&](std::int64_t o, std::int64_t first, std::int64_t columns) {
      Total<T> totals[width];
      column_sums(x + o * n * inner + first, inner, n, columns, totals);
      for (std::int64_t j = 0; j < columns; ++j) y[o * inner + first + j] = scaled<T>(totals[j], scale);
    });
  }
}

template <class T>
void amax(const T* x, T* y, std::int64_t outer, std::int64_t n, std::int64_t inner) {
  extremum<1>(x, y, outer, n, inner);
}

template <class T>
void amin(const T* x, T* y, std::int64_t outer, std::int64_t n, std::int64_t inner) {
  extremum<-1>(x, y, outer, n, inner);
}

template <class T>
void argmax(const T* x, std::int64_t* y, std::int64_t outer, std::int64_t n, std::int64_t inner) {
  if (inner == 1) {
    parallel_for(outer, rows_per_chunk(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) y[row] = row_argmax(x + row * n, n);
    });
    return;
  }
  for_columns(outer, n, inner, [&](std::int64_t o, std::int64_t first, std::int64_t columns) {
    const T* from = x + o * n * inner + first;
    T best[width];
    std::int64_t* at = y + o * inner + first;
    std::copy_n(from, columns, best);
    std::fill_n(at, columns, 0);
    for (std::int64_t i = 1; i < n; ++i)
      for (std::int64_t j = 0; j < columns; ++j)
        if (replaces<1>(from[i * inner + j], best[j])) best[j] = from[i * inner + j], at[j] = i;
  });
}

template <class T>
void variance(const T* x, T* y, std::int64_t outer, std::int64_t n, std::int64_t inner, double divisor) {
  if (inner == 1) {
    parallel_for(outer, rows_per_chunk(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const T* from = x + row * n;
        const double mean = row_sum(from, n) / static_cast<double>(n);
        y[row] = static_cast<T>(sum_terms(n,
                                          [&](std::int64_t i) {
                                            const double d = static_cast<double>(from[i]) - mean;
                                            return d * d;
                                          }) /
                                divisor);
      }
    });
    return;
  }
  for_columns(outer, n, inner, [&](std::int64_t o, std::int64_t first, std::int64_t columns) {
    const T* from = x + o * n * inner + first;
    double means[width], squares[width] = {};
    column_sums(from, inner, n, columns, means);
    for (std::int64_t j = 0; j < columns; ++j) means[j] /= static_cast<double>(n);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < columns; ++j) {
        const double d = static_cast<double>(from[i * inner + j]) - means[j];
        squares[j] += d * d;
      }
    for (std::int64_t j = 0; j < columns; ++j)
      y[o * inner + first + j] = static_cast<T>(squares[j] / divisor);
  });
}

template <class T>
double power_sum(const T* x, std::int64_t n, double p) {
  if (p == infinity<double>) {
    if (n == 0) return 0;
    T low = 0, high = 0;
    amin(x, &low, 1, n, 1);
    amax(x, &high, 1, n, 1);
    return static_cast<double>(replaces<1>(-low, high) ? -low : high);
  }
  return sum_in_parts<double>(n, [&](std::int64_t begin, std::int64_t end) {
    const T* from = x + begin;
    const auto magnitude = [from](std::int64_t i) { return std::fabs(static_cast<double>(from[i])); };
    if (p == 1) return sum_terms(end - begin, magnitude);
    if (p == 2) return sum_terms(end - begin, [&](std::int64_t i) { return magnitude(i) * magnitude(i); });
    return sum_terms(end - begin, [&](std::int64_t i) { return std::pow(magnitude(i), p); });
  });
}

template void sum(const float*, float*, std::int64_t, std::int64_t, std::int64_t, double);
template void amax(const float*, float*, std::int64_t, std::int64_t, std::int64_t);
template void amin(const float*, float*, std::int64_t, std::int64_t, std::int64_t);
template void argmax(const float*, std::int64_t*, std::int64_t, std::int64_t, std::int64_t);
template void sum(const double*, double*, std::int64_t, std::int64_t, std::int64_t, double);
template void amax(const double*, double*, std::int64_t, std::int64_t, std::int64_t);
template void amin(const double*, double*, std::int64_t, std::int64_t, std::int64_t);
template void argmax(const double*, std::int64_t*, std::int64_t, std::int64_t, std::int64_t);
template void sum(const std::int64_t*, std::int64_t*, std::int64_t, std::int64_t, std::int64_t, double);
template void amax(const std::int64_t*, std::int64_t*, std::int64_t, std::int64_t, std::int64_t);
template void amin(const std::int64_t*, std::int64_t*, std::int64_t, std::int64_t, std::int64_t);
template void argmax(const std::int64_t*, std::int64_t*, std::int64_t, std::int64_t, std::int64_t);
template void variance(const float*, float*, std::int64_t, std::int64_t, std::int64_t, double);
template void variance(const double*, double*, std::int64_t, std::int64_t, std::int64_t, double);
template double power_sum(const float*, std::int64_t, double);
template double power_sum(const double*, std::int64_t, double);

}  // namespace retort::kernels
