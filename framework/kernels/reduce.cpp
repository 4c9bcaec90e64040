#include "retort/framework/kernels/reduce.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {
namespace {

constexpr Index grain = 32768;     // elements per thread and chunk
constexpr Index block = 1024;      // elements summed in T before they are added to a double
constexpr Index most_parts = 256;  // of one long row
constexpr Index width = 256;       // columns summed in parallel
constexpr Index row_block = 64;    // rows of columns summed in T before they are added to a double

Index rows_per_chunk(Index row) { return std::max<Index>(1, grain / std::max<Index>(1, row)); }

/// x[0] + … + x[n - 1].
template <class T>
double row_sum(const T* x, Index n) {
  constexpr Index step = 4 * lanes<T>;
  double total = 0;
  for (Index begin = 0; begin < n; begin += block) {
    const Index end = std::min(n, begin + block);
    Batch<T> a(T{0}), b(T{0}), c(T{0}), d(T{0});
    Index i = begin;
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
std::int64_t row_sum(const std::int64_t* x, Index n) {
  std::int64_t total = 0;
  for (Index i = 0; i < n; ++i) total += x[i];
  return total;
}

/// The sum of part(begin, end) over the parts of a long row, computed on all threads and added in order.
template <class R, class F>
R sum_in_parts(Index n, F part) {
  if (n <= 2 * grain) return part(0, n);
  const Index chunk = std::max(grain, (n / most_parts + grain) / grain * grain);
  R parts[most_parts];
  parallel_for(n, chunk, [&](Index begin, Index end) { parts[begin / chunk] = part(begin, end); });
  R total{};
  for (Index i = 0; i * chunk < n; ++i) total += parts[i];
  return total;
}

/// total[j] = sum over `rows` of x[row·stride + j], j < columns <= most.
template <Index most = width, class T, class R>
void column_sums(const T* x, Index stride, Index rows, Index columns, R* total) {
  std::fill_n(total, columns, R{0});
  for (Index begin = 0; begin < rows; begin += row_block) {
    const Index end = std::min(rows, begin + row_block);
    T sums[most];
    std::fill_n(sums, columns, T{0});
    Index i = begin;
    for (; i + 4 <= end; i += 4) {
      const T *a = x + i * stride, *b = a + stride, *c = b + stride, *d = c + stride;
      for (Index j = 0; j < columns; ++j) sums[j] += (a[j] + b[j]) + (c[j] + d[j]);
    }
    for (; i < end; ++i)
      for (Index j = 0; j < columns; ++j) sums[j] += x[i * stride + j];
    for (Index j = 0; j < columns; ++j) total[j] += static_cast<R>(sums[j]);
  }
}

/// Calls f(row) for the rows of [outer, n].
template <class F>
void for_rows(const Axis& axis, F f) {
  parallel_for(axis.outer, rows_per_chunk(axis.n), [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) f(row);
  });
}

/// Calls f(outer, first, columns) for strips of at most `width` columns of [outer, n, inner].
template <class F>
void for_columns(const Axis& axis, F f) {
  const Index strips = (axis.inner + width - 1) / width;
  parallel_for(axis.outer * strips, rows_per_chunk(axis.n * std::min(axis.inner, width)),
               [&](Index begin, Index end) {
                 for (Index i = begin; i < end; ++i) {
                   const Index first = i % strips * width;
                   f(i / strips, first, std::min(width, axis.inner - first));
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

/// Few long columns: the rows of each strip are split into parts. Wide strips are read in long runs.
template <class T>
void sum_long_columns(const T* x, T* y, Index n, Index inner, double scale) {
  constexpr Index parts = 16, most = 1024;
  const Index chunk = (n + parts - 1) / parts;
  auto* const totals = scratch<Total<T>>(parts * std::min(inner, most));
  for (Index first = 0; first < inner; first += most) {
    const Index columns = std::min(most, inner - first);
    parallel_for(n, chunk, [&](Index begin, Index end) {
      column_sums<most>(x + begin * inner + first, inner, end - begin, columns,
                        totals + begin / chunk * columns);
    });
    for (Index j = 0; j < columns; ++j) {
      Total<T> total{};
      for (Index i = 0; i * chunk < n; ++i) total += totals[i * columns + j];
      y[first + j] = scaled<T>(total, scale);
    }
  }
}

/// The maximum of a row (Sign 1) or minimum (Sign -1); NaN if any element is NaN.
template <int Sign, class T>
T row_extremum(const T* x, Index n) {
  if constexpr (std::is_floating_point_v<T>) {
    const auto sign = [](const Batch<T>& v) { return Sign > 0 ? v : -v; };
    Batch<T> a(-infinity<T>), b(-infinity<T>);
    Mask<T> nan(false);
    Index i = 0;
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
    for (Index i = 1; i < n; ++i) best = Sign > 0 ? std::max(best, x[i]) : std::min(best, x[i]);
    return best;
  }
}

/// True if `value` replaces `best`: it is greater (less for Sign -1), or the first NaN.
template <int Sign, class T>
bool replaces(T value, T best) {
  return (Sign > 0 ? value > best : value < best) || (value != value && best == best);
}

template <int Sign, class T>
void extremum(const T* x, T* y, const Axis& axis) {
  const auto [outer, n, inner] = axis;
  if (inner == 1) return for_rows(axis, [=](Index row) { y[row] = row_extremum<Sign>(x + row * n, n); });
  for_columns(axis, [=](Index o, Index first, Index columns) {
    const T* const from = x + o * n * inner + first;
    T* const best = y + o * inner + first;
    std::copy_n(from, columns, best);
    for (Index i = 1; i < n; ++i)
      for (Index j = 0; j < columns; ++j) {
        const T value = from[i * inner + j];
        best[j] = replaces<Sign>(value, best[j]) ? value : best[j];
      }
  });
}

template <int Sign, class T>
Index row_position(const T* x, Index n) {
  if constexpr (std::is_floating_point_v<T>) {
    const T best = row_extremum<Sign>(x, n);
    Index i = 0;
    if (best != best) {
      while (x[i] == x[i]) ++i;
      return i;
    }
    while (i + lanes<T> <= n && !xsimd::any(load(x + i) == Batch<T>(best))) i += lanes<T>;
    while (x[i] != best) ++i;
    return i;
  } else {
    return (Sign > 0 ? std::max_element(x, x + n) : std::min_element(x, x + n)) - x;
  }
}

/// The position along n of the first maximum (minimum for Sign -1), or of the first NaN.
template <int Sign, class T>
void position(const T* x, std::int64_t* y, const Axis& axis) {
  const auto [outer, n, inner] = axis;
  if (inner == 1) return for_rows(axis, [=](Index row) { y[row] = row_position<Sign>(x + row * n, n); });
  for_columns(axis, [=](Index o, Index first, Index columns) {
    const T* const from = x + o * n * inner + first;
    T best[width];
    std::int64_t* const at = y + o * inner + first;
    std::copy_n(from, columns, best);
    std::fill_n(at, columns, 0);
    for (Index i = 1; i < n; ++i)
      for (Index j = 0; j < columns; ++j)
        if (replaces<Sign>(from[i * inner + j], best[j])) best[j] = from[i * inner + j], at[j] = i;
  });
}

/// The sum of term(i) over i < n, in double, in sixteen interleaved sums.
template <class F>
double sum_terms(Index n, F term) {
  double sums[16] = {};
  Index i = 0;
  if (n < 16) {
    for (; i < n; ++i) sums[0] += term(i);
    return sums[0];
  }
  for (; i + 16 <= n; i += 16)
    for (int k = 0; k < 16; ++k) sums[k] += term(i + k);
  for (int k = 0; i < n; ++i, ++k) sums[k] += term(i);
  for (int half = 8; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) sums[k] += sums[k + half];
  return sums[0];
}

/// A mean in two parts: an element, and the mean of the differences from it. If all elements are equal, the
/// differences are exactly 0, and a common offset costs no accuracy. Sums of equal floats are exact in
/// double, so floats need no origin.
struct Centre {
  double origin = 0, mean = 0;

  template <class T>
  static Centre at(T x) {
    return {sizeof(T) < sizeof(double) ? 0 : static_cast<double>(x), 0};
  }
  template <class T>
  double difference(T x) const {
    if constexpr (sizeof(T) < sizeof(double))
      return static_cast<double>(x) - mean;
    else
      return (x - origin) - mean;
  }
};

/// The centre of `runs` rows of n elements with the given stride; at least one element.
template <class T>
Centre row_centre(const T* x, Index runs, Index stride, Index n) {
  Centre centre = Centre::at(x[0]);
  double sum = 0;
  for (Index run = 0; run < runs; ++run)
    sum += sum_terms(n, [=, from = x + run * stride](Index i) { return centre.difference(from[i]); });
  centre.mean = sum / static_cast<double>(runs * n);
  return centre;
}

/// The centres of at most `width` columns [n][stride].
template <class T>
void column_centres(const T* x, Index n, Index stride, Index columns, double* origins, double* means) {
  for (Index j = 0; j < columns; ++j) origins[j] = n > 0 ? Centre::at(x[j]).origin : 0;
  std::fill_n(means, columns, 0.0);
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < columns; ++j) means[j] += static_cast<double>(x[i * stride + j]) - origins[j];
  for (Index j = 0; j < columns; ++j) means[j] /= static_cast<double>(n);
}

}  // namespace

template <class T>
void sum(const T* x, T* y, const Axis& axis, double scale) {
  const auto [outer, n, inner] = axis;
  if (inner == 1 && n > 2 * grain) {
    for (Index row = 0; row < outer; ++row)
      y[row] = scaled<T>(sum_in_parts<Total<T>>(n,
                                                [&, from = x + row * n](Index begin, Index end) {
                                                  return row_sum(from + begin, end - begin);
                                                }),
                         scale);
  } else if (inner == 1) {
    for_rows(axis, [=](Index row) { y[row] = scaled<T>(row_sum(x + row * n, n), scale); });
  } else if (outer * ((inner + width - 1) / width) < 8 && n >= 1024 && n * inner > 2 * grain) {
    for (Index o = 0; o < outer; ++o) sum_long_columns(x + o * n * inner, y + o * inner, n, inner, scale);
  } else {
    for_columns(axis, [=](Index o, Index first, Index columns) {
      Total<T> totals[width];
      column_sums(x + o * n * inner + first, inner, n, columns, totals);
      for (Index j = 0; j < columns; ++j) y[o * inner + first + j] = scaled<T>(totals[j], scale);
    });
  }
}

template <class T>
void sum_channels(const T* x, T* y, const Channels& layout, double scale) {
  const auto [groups, batch, channels, inner] = layout;
  parallel_for(groups * channels, rows_per_chunk(batch * inner), [&](Index begin, Index end) {
    // Some channels at a time, so that memory is read in longer runs.
    constexpr Index most = 64;
    for (Index first = begin; first < end;) {
      const Index group = first / channels,
                  count = std::min({most, end - first, (group + 1) * channels - first});
      Total<T> totals[most] = {};
      for (Index b = 0; b < batch; ++b) {
        const T* from = x + (group * batch * channels + b * channels + first % channels) * inner;
        for (Index i = 0; i < count; ++i, from += inner) totals[i] += row_sum(from, inner);
      }
      for (Index i = 0; i < count; ++i) y[first++] = scaled<T>(totals[i], scale);
    }
  });
}

template <class T>
void amax(const T* x, T* y, const Axis& axis) {
  extremum<1>(x, y, axis);
}

template <class T>
void amin(const T* x, T* y, const Axis& axis) {
  extremum<-1>(x, y, axis);
}

template <class T>
void argmax(const T* x, std::int64_t* y, const Axis& axis) {
  position<1>(x, y, axis);
}

template <class T>
void argmin(const T* x, std::int64_t* y, const Axis& axis) {
  position<-1>(x, y, axis);
}

template <class T>
void variance(const T* x, T* y, const Axis& axis, double divisor) {
  const auto [outer, n, inner] = axis;
  if (n == 0) {
    std::fill_n(y, axis.rows(), std::numeric_limits<T>::quiet_NaN());
    return;
  }
  if (inner == 1)
    return for_rows(axis, [=](Index row) {
      const T* const from = x + row * n;
      const Centre centre = row_centre(from, 1, n, n);
      const double squares = sum_terms(n, [=](Index i) {
        const double d = centre.difference(from[i]);
        return d * d;
      });
      y[row] = static_cast<T>(squares / divisor);
    });
  for_columns(axis, [=](Index o, Index first, Index columns) {
    const T* const from = x + o * n * inner + first;
    double origins[width], means[width], squares[width] = {};
    column_centres(from, n, inner, columns, origins, means);
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < columns; ++j) {
        const double d = Centre{origins[j], means[j]}.difference(from[i * inner + j]);
        squares[j] += d * d;
      }
    for (Index j = 0; j < columns; ++j) y[o * inner + first + j] = static_cast<T>(squares[j] / divisor);
  });
}

template <class T>
void centre(const T* x, T* y, const Channels& layout) {
  const auto [groups, batch, channels, inner] = layout;
  if (layout.size() == 0) return;
  const Index stride = channels * inner;
  if (inner == 1 && batch > 1)
    return for_columns(Axis{groups, batch, channels}, [=](Index group, Index first, Index columns) {
      const Index offset = group * batch * stride + first;
      double origins[width], means[width];
      column_centres(x + offset, batch, stride, columns, origins, means);
      for (Index i = 0; i < batch; ++i)
        for (Index j = 0, at = offset + i * stride; j < columns; ++j, ++at)
          y[at] = static_cast<T>(Centre{origins[j], means[j]}.difference(x[at]));
    });
  for_rows(Axis{groups * channels, batch * inner}, [=](Index channel) {
    const Index offset = (channel / channels * batch * channels + channel % channels) * inner;
    const Centre found = row_centre(x + offset, batch, stride, inner);
    for (Index run = 0; run < batch; ++run)
      for (Index i = 0, at = offset + run * stride; i < inner; ++i, ++at)
        y[at] = static_cast<T>(found.difference(x[at]));
  });
}

template <class T>
double power_sum(const T* x, Index n, double p) {
  if (p == infinity<double>) {
    if (n == 0) return 0;
    T low = 0, high = 0;
    amin(x, &low, {.n = n});
    amax(x, &high, {.n = n});
    return static_cast<double>(replaces<1>(-low, high) ? -low : high);
  }
  return sum_in_parts<double>(n, [&](Index begin, Index end) {
    const T* from = x + begin;
    const auto magnitude = [from](Index i) { return std::fabs(static_cast<double>(from[i])); };
    if (p == 1) return sum_terms(end - begin, magnitude);
    if (p == 2) return sum_terms(end - begin, [&](Index i) { return magnitude(i) * magnitude(i); });
    return sum_terms(end - begin, [&](Index i) { return std::pow(magnitude(i), p); });
  });
}

template void sum(const float*, float*, const Axis&, double);
template void sum(const double*, double*, const Axis&, double);
template void sum(const std::int64_t*, std::int64_t*, const Axis&, double);
template void sum_channels(const float*, float*, const Channels&, double);
template void sum_channels(const double*, double*, const Channels&, double);
template void sum_channels(const std::int64_t*, std::int64_t*, const Channels&, double);
template void amax(const float*, float*, const Axis&);
template void amax(const double*, double*, const Axis&);
template void amax(const std::int64_t*, std::int64_t*, const Axis&);
template void amin(const float*, float*, const Axis&);
template void amin(const double*, double*, const Axis&);
template void amin(const std::int64_t*, std::int64_t*, const Axis&);
template void argmax(const float*, std::int64_t*, const Axis&);
template void argmax(const double*, std::int64_t*, const Axis&);
template void argmax(const std::int64_t*, std::int64_t*, const Axis&);
template void argmin(const float*, std::int64_t*, const Axis&);
template void argmin(const double*, std::int64_t*, const Axis&);
template void argmin(const std::int64_t*, std::int64_t*, const Axis&);
template void variance(const float*, float*, const Axis&, double);
template void variance(const double*, double*, const Axis&, double);
template void centre(const float*, float*, const Channels&);
template void centre(const double*, double*, const Channels&);
template double power_sum(const float*, Index, double);
template double power_sum(const double*, Index, double);

}  // namespace retort::kernels
