#include "retort/framework/kernels/pool.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {
namespace {

/// Calls f(plane) for all planes, several at a time per thread.
template <class F>
void for_planes(Index planes, Index work, F f) {
  parallel_for(planes, std::max<Index>(1, 32768 / std::max<Index>(1, work)), [&](Index begin, Index end) {
    for (Index p = begin; p < end; ++p) f(p);
  });
}

/// Returns true if `best` remains the maximum after `here`: a NaN replaces a number, and the first NaN is
/// kept. For numbers and registers.
template <class V>
[[gnu::always_inline]] inline auto stays(const V& here, const V& best) {
  return (here <= best) | !(best == best);  // xsimd 8.1 has an ordered !=, false for NaN
}
template <class T>
T greater(T here, T best) {
  return stays(here, best) ? best : here;
}

/// The taps of one dimension of a window that intersect the plane at some position, and the position of the
/// first of them.
struct Taps {
  Index first, count, dilation;
  Taps(Index extent, Index kernel, Index stride, Index padding, Index step, Index positions)
      : dilation(step) {
    const Index before = padding - (positions - 1) * stride;
    const Index skipped = before <= 0 ? 0 : (before - 1) / step + 1;
    first = skipped * step - padding;
    count = std::max<Index>(0, std::min(kernel, (extent - 1 + padding) / step + 1) - skipped);
  }
};

/// Finds the positions of the maxima of a plane's windows. Columns with the same remainder modulo the stride
/// are copied next to each other, so that a register contains one tap of adjacent windows.
template <class T>
class Maxima {
 public:
  explicit Maxima(const Windows& w)
      : w_(w),
        rows_(w.height, w.kernel_h, w.stride_h, w.padding_h, w.dilation_h, w.out_h),
        columns_(w.width, w.kernel_w, w.stride_w, w.padding_w, w.dilation_w, w.out_w) {
    const Index reach = std::max<Index>(0, columns_.count - 1) * columns_.dilation;
    row_ = w.out_w + reach / w.stride_w;
    phases_ = std::min(w.stride_w, reach + 1);
  }

  /// Calls f(y, z, count, maxima, tap rows, tap columns) for `count` windows at a time, starting at window
  /// (y, z). The taps are -1 if no element is greater than -infinity.
  template <class F>
  void visit(const T* plane, F f) const {
    const Index padded = phases_ * row_;
    T* const copy = scratch<T>(w_.height * padded + lanes<T>);
    for (Index phase = 0; phase < phases_; ++phase) {
      const Columns columns(w_.width, phase + columns_.first, w_.stride_w, row_);
      for (Index r = 0; r < w_.height; ++r)
        columns.read(plane + r * w_.width, -infinity<T>, copy + r * padded + phase * row_);
    }
    for (Index y = 0; y < w_.out_h; ++y)
      for (Index z = 0; z < w_.out_w; z += lanes<T>) {
        Batch<T> best(-infinity<T>), best_i(T{-1}), best_j(T{-1});
        for (Index i = 0; i < rows_.count; ++i) {
          const Index row = y * w_.stride_h + rows_.first + i * rows_.dilation;
          if (row < 0 || row >= w_.height) continue;
          for (Index j = 0, column = 0; j < columns_.count; ++j, column += columns_.dilation) {
            const Batch<T> here =
                load(copy + row * padded + column % w_.stride_w * row_ + column / w_.stride_w + z);
            const auto keep = stays(here, best);
            best = select(keep, best, here);
            best_i = select(keep, best_i, Batch<T>(static_cast<T>(i)));
            best_j = select(keep, best_j, Batch<T>(static_cast<T>(j)));
          }
        }
        f(y, z, std::min(lanes<T>, w_.out_w - z), best, best_i, best_j);
      }
  }

  /// Calls f(output position, position of the maximum in the plane, or -1) for each window of a plane.
  template <class F>
  void for_places(const T* plane, F f) const {
    visit(plane, [&](Index y, Index z, Index count, const Batch<T>&, const Batch<T>& i, const Batch<T>& j) {
      alignas(64) T tap_i[lanes<T>], tap_j[lanes<T>];
      store(tap_i, i);
      store(tap_j, j);
      const Index top = y * w_.stride_h + rows_.first;
      for (Index k = 0; k < count; ++k) {
        const Index left = (z + k) * w_.stride_w + columns_.first;
        f(y * w_.out_w + z + k, tap_i[k] < 0
                                    ? first_place(top, left)
                                    : (top + static_cast<Index>(tap_i[k]) * rows_.dilation) * w_.width +
                                          left + static_cast<Index>(tap_j[k]) * columns_.dilation);
      }
    });
  }

 private:
  /// The first position of a window whose tap 0 is at (top, left), or -1 if it contains only padding.
  Index first_place(Index top, Index left) const {
    for (Index i = 0, row = top; i < rows_.count; ++i, row += rows_.dilation)
      for (Index j = 0, column = left; j < columns_.count; ++j, column += columns_.dilation)
        if (row >= 0 && row < w_.height && column >= 0 && column < w_.width) return row * w_.width + column;
    return -1;
  }

  const Windows& w_;
  Taps rows_, columns_;
  Index row_, phases_;
};

/// Maxima of a register of planes at a time. Each lane contains a plane, so windows of all sizes and strides
/// fill the registers, and the gradient is added without looking up a position per lane.
template <class T>
class ManyPlanes {
 public:
  explicit ManyPlanes(const Windows& w) : w_(w) {
    for (Index i = 0; i < w.out_h; ++i)
      rows_.push_back(span_of(i, w.height, w.kernel_h, w.stride_h, w.padding_h, w.dilation_h));
    for (Index j = 0; j < w.out_w; ++j)
      columns_.push_back(span_of(j, w.width, w.kernel_w, w.stride_w, w.padding_w, w.dilation_w));
  }
  /// True if a register of planes and their gradients stay in the second-level cache.
  static bool fits(const Windows& w, Index planes) {
    constexpr Index most = Index{1} << 19;  // bytes
    return planes >= lanes<T> &&
           (2 * w.plane() + w.positions()) * lanes<T> * static_cast<Index>(sizeof(T)) <= most;
  }

  /// Maxima of `count` planes.
  void maxima(const T* x, Index count, T* y) const {
    T* const planes = scratch<T>((w_.plane() + w_.positions()) * lanes<T>);
    T* out = planes + w_.plane() * lanes<T>;
    transpose(x, w_.plane(), count, w_.plane(), planes, lanes<T>);
    const T* const maxima = out;
    for (const Span& rows : rows_)
      for (const Span& columns : columns_) {
        Batch<T> best(-infinity<T>);
        for_taps(rows, columns, [&](Index position, T) {
          const Batch<T> here = load(planes + position * lanes<T>);
          best = select(stays(here, best), best, here);
        });
        store<T>(out, best);
        out += lanes<T>;
      }
    transpose(maxima, lanes<T>, w_.positions(), count, y, w_.positions());
  }

  /// Gradients of `count` planes.
  void gradient(const T* x, const T* g, Index count, T* gx) const {
    const Index plane = w_.plane() * lanes<T>;
    T* const planes = scratch<T>(2 * plane + w_.positions() * lanes<T>);
    T *const sums = planes + plane, *upstream = sums + plane;
    transpose(x, w_.plane(), count, w_.plane(), planes, lanes<T>);
    transpose(g, w_.positions(), count, w_.positions(), upstream, lanes<T>);
    std::fill_n(sums, plane, T{0});
    const Batch<T> zero(T{0});
    for (const Span& rows : rows_)
      for (const Span& columns : columns_) {
        Batch<T> best(-infinity<T>), tap(zero);
        for_taps(rows, columns, [&](Index position, T number) {
          const Batch<T> here = load(planes + position * lanes<T>);
          const auto keep = stays(here, best);
          best = select(keep, best, here);
          tap = select(keep, tap, Batch<T>(number));
        });
        const Batch<T> of_window = load(upstream);
        upstream += lanes<T>;
        for_taps(rows, columns, [&](Index position, T number) {
          T* const sum = sums + position * lanes<T>;
          store<T>(sum, load(sum) + select(tap == Batch<T>(number), of_window, zero));
        });
      }
    transpose(sums, lanes<T>, w_.plane(), count, gx, w_.plane());
  }

 private:
  /// The taps of a window in one dimension that are inside the plane.
  struct Span {
    Index first, count, step;
  };
  static Span span_of(Index position, Index extent, Index kernel, Index stride, Index padding,
                      Index dilation) {
    Index first = position * stride - padding, taps = kernel;
    for (; first < 0 && taps > 0; first += dilation) --taps;
    while (taps > 0 && first + (taps - 1) * dilation >= extent) --taps;
    return {first, taps, dilation};
  }
  /// Calls f(position in the plane, number of the tap).
  template <class F>
  void for_taps(const Span& rows, const Span& columns, F f) const {
    T number{0};
    for (Index i = 0, row = rows.first; i < rows.count; ++i, row += rows.step)
      for (Index j = 0, position = row * w_.width + columns.first; j < columns.count;
           ++j, position += columns.step) {
        f(position, number);
        number += T{1};
      }
  }

  const Windows& w_;
  std::vector<Span> rows_, columns_;
};

/// True for adjacent, non-overlapping 2×2 windows that cover the plane except for a last row or column.
bool is_halving(const Windows& w) {
  return w.kernel_h == 2 && w.kernel_w == 2 && w.stride_h == 2 && w.stride_w == 2 && w.padding_h == 0 &&
         w.padding_w == 0 && w.dilation_h == 1 && w.dilation_w == 1 && 2 * w.out_h <= w.height &&
         2 * w.out_w <= w.width;
}

#if defined(__AVX2__)
/// Splits two registers into the elements at even and at odd positions, and its inverse.
template <class T>
std::array<Batch<T>, 2> split_pairs(const Batch<T>& a, const Batch<T>& b) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    return {Batch<T>(_mm512_permutex2var_ps(a, even, b)), Batch<T>(_mm512_permutex2var_ps(a, odd, b))};
  } else {
    const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    const __m512i odd = _mm512_add_epi64(even, _mm512_set1_epi64(1));
    return {Batch<T>(_mm512_permutex2var_pd(a, even, b)), Batch<T>(_mm512_permutex2var_pd(a, odd, b))};
  }
#else
  const auto ordered = [](__m256d v) { return _mm256_permute4x64_pd(v, 0xd8); };
  if constexpr (std::is_same_v<T, float>)
    return {Batch<T>(_mm256_castpd_ps(ordered(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88))))),
            Batch<T>(_mm256_castpd_ps(ordered(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd)))))};
  else
    return {Batch<T>(ordered(_mm256_unpacklo_pd(a, b))), Batch<T>(ordered(_mm256_unpackhi_pd(a, b)))};
#endif
}
template <class T>
std::array<Batch<T>, 2> join_pairs(const Batch<T>& even, const Batch<T>& odd) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    return {Batch<T>(_mm512_permutex2var_ps(even, low, odd)),
            Batch<T>(_mm512_permutex2var_ps(even, high, odd))};
  } else {
    const __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    const __m512i high = _mm512_add_epi64(low, _mm512_set1_epi64(4));
    return {Batch<T>(_mm512_permutex2var_pd(even, low, odd)),
            Batch<T>(_mm512_permutex2var_pd(even, high, odd))};
  }
#else
  if constexpr (std::is_same_v<T, float>) {
    const __m256 low = _mm256_unpacklo_ps(even, odd), high = _mm256_unpackhi_ps(even, odd);
    return {Batch<T>(_mm256_permute2f128_ps(low, high, 0x20)),
            Batch<T>(_mm256_permute2f128_ps(low, high, 0x31))};
  } else {
    const __m256d low = _mm256_unpacklo_pd(even, odd), high = _mm256_unpackhi_pd(even, odd);
    return {Batch<T>(_mm256_permute2f128_pd(low, high, 0x20)),
            Batch<T>(_mm256_permute2f128_pd(low, high, 0x31))};
  }
#endif
}

/// Loads `count` pairs and splits them.
template <class T>
std::array<Batch<T>, 2> load_pairs(const T* x, Index count) {
  if (count == lanes<T>) return split_pairs<T>(load(x), load(x + count));
  const Index low = std::min(2 * count, lanes<T>), high = 2 * count - low;
  return split_pairs<T>(load_lanes(x, low, T{0}), load_partial(x + low, high, T{0}));
}
template <class T>
void store_pairs(T* y, const Batch<T>& even, const Batch<T>& odd, Index count) {
  const Index low = std::min(2 * count, lanes<T>), high = 2 * count - low;
  const auto joined = join_pairs<T>(even, odd);
  store_lanes(y, joined[0], low);
  store_lanes(y + low, joined[1], high);
}
#endif

template <class T>
void halve_rows(const T* top, const T* bottom, T* y, Index n) {
#if defined(__AVX2__)
  walk<T, 1>(n, [&]<int>(Index i, Index count) {
    const auto [a, b] = load_pairs(top + 2 * i, count);
    const auto [c, d] = load_pairs(bottom + 2 * i, count);
    Batch<T> best = select(stays(b, a), a, b);
    best = select(stays(c, best), best, c);
    store_lanes<T>(y + i, select(stays(d, best), best, d), count);
  });
#else
  for (Index i = 0; i < n; ++i)
    y[i] = greater(bottom[2 * i + 1], greater(bottom[2 * i], greater(top[2 * i + 1], top[2 * i])));
#endif
}

template <class T>
void halve_rows_gradient(const T* top, const T* bottom, const T* g, T* gx_top, T* gx_bottom, Index n) {
#if defined(__AVX2__)
  const Batch<T> zero(T{0});
  walk<T, 1>(n, [&]<int>(Index i, Index count) {
    const auto [a, b] = load_pairs(top + 2 * i, count);
    const auto [c, d] = load_pairs(bottom + 2 * i, count);
    // A later maximum replaces earlier ones as the receiver of the gradient.
    const auto not_b = stays(b, a);
    const Batch<T> ab = select(not_b, a, b);
    const auto not_c = stays(c, ab);
    const auto not_d = stays(d, Batch<T>(select(not_c, ab, c)));
    const Batch<T> v = load_lanes(g + i, count, T{0}), abc = select(not_d, v, zero),
                   of_ab = select(not_c, abc, zero);
    store_pairs<T>(gx_top + 2 * i, select(not_b, of_ab, zero), select(not_b, zero, of_ab), count);
    store_pairs<T>(gx_bottom + 2 * i, select(not_c, zero, abc), select(not_d, zero, v), count);
  });
#else
  for (Index i = 0; i < n; ++i) {
    const T* const from[4] = {top + 2 * i, top + 2 * i + 1, bottom + 2 * i, bottom + 2 * i + 1};
    T* const to[4] = {gx_top + 2 * i, gx_top + 2 * i + 1, gx_bottom + 2 * i, gx_bottom + 2 * i + 1};
    int best = 0;
    for (int k = 1; k < 4; ++k) best = stays(*from[k], *from[best]) ? best : k;
    for (int k = 0; k < 4; ++k) *to[k] = k == best ? g[i] : T{0};
  }
#endif
}

/// True for adjacent 2×2 windows with a common divisor.
bool is_halving(const Spans& s) {
  for (Index i = 0; i < s.size(); ++i)
    if (s.begin[i] != 2 * i || s.end[i] != 2 * i + 2 || s.divisor[i] != 2) return false;
  return true;
}

/// True for one window, which has all elements.
bool is_whole(const Spans& s) { return s.size() == 1 && s.begin[0] == 0 && s.end[0] == s.extent; }

}  // namespace

template <class T>
void max_pool(const T* x, T* y, Index planes, const Windows& w) {
  const bool halves = is_halving(w);
  if (!halves && ManyPlanes<T>::fits(w, planes)) {
    const ManyPlanes<T> many(w);
    return for_planes((planes + lanes<T> - 1) / lanes<T>, w.plane() * lanes<T>, [&](Index i) {
      const Index p = i * lanes<T>;
      many.maxima(x + p * w.plane(), std::min(lanes<T>, planes - p), y + p * w.positions());
    });
  }
  const Maxima<T> maxima(w);
  for_planes(planes, w.plane(), [&](Index p) {
    const T* const plane = x + p * w.plane();
    T* const out = y + p * w.positions();
    if (halves) {
      for (Index i = 0; i < w.out_h; ++i)
        halve_rows(plane + 2 * i * w.width, plane + (2 * i + 1) * w.width, out + i * w.out_w, w.out_w);
      return;
    }
    maxima.visit(plane, [&](Index i, Index j, Index count, const Batch<T>& best, const Batch<T>&,
                            const Batch<T>&) { store_lanes(out + i * w.out_w + j, best, count); });
  });
}

template <class T>
void max_pool_gradient(const T* x, const T* g, T* gx, Index planes, const Windows& w) {
  const bool halves = is_halving(w);
  if (!halves && ManyPlanes<T>::fits(w, planes)) {
    const ManyPlanes<T> many(w);
    return for_planes((planes + lanes<T> - 1) / lanes<T>, w.plane() * lanes<T>, [&](Index i) {
      const Index p = i * lanes<T>;
      many.gradient(x + p * w.plane(), g + p * w.positions(), std::min(lanes<T>, planes - p),
                    gx + p * w.plane());
    });
  }
  const Maxima<T> maxima(w);
  for_planes(planes, w.plane(), [&](Index p) {
    const T* const plane = x + p * w.plane();
    const T* const of_windows = g + p * w.positions();
    T* const out = gx + p * w.plane();
    if (halves) {
      for (Index i = 0; i < w.out_h; ++i) {
        const Index top = 2 * i * w.width, bottom = top + w.width;
        halve_rows_gradient(plane + top, plane + bottom, of_windows + i * w.out_w, out + top, out + bottom,
                            w.out_w);
        for (Index j = 2 * w.out_w; j < w.width; ++j) out[top + j] = out[bottom + j] = T{0};
      }
      std::fill(out + 2 * w.out_h * w.width, out + w.plane(), T{0});
      return;
    }
    std::fill_n(out, w.plane(), T{0});
    maxima.for_places(plane, [&](Index window, Index best) {
      if (best >= 0) out[best] += of_windows[window];
    });
  });
}

template <class T>
void max_pool_index(const T* x, Index* index, Index planes, const Windows& w) {
  const Maxima<T> maxima(w);
  for_planes(planes, w.plane(), [&](Index p) {
    maxima.for_places(x + p * w.plane(),
                      [&](Index window, Index best) { index[p * w.positions() + window] = best; });
  });
}

template <class T>
void avg_pool(const T* x, T* y, Index planes, const Spans& h, const Spans& w) {
  const Index rows = h.size(), columns = w.size(), width = w.extent;
  if (is_whole(h) && is_whole(w)) {
    const T divisor = static_cast<T>(h.divisor[0]) * static_cast<T>(w.divisor[0]);
    for_planes(planes, h.extent * width, [&](Index p) {
      const T* const plane = x + p * h.extent * width;
      y[p] = static_cast<T>(row_sum<T, 4>(
                 h.extent * width,
                 [&]<int K>(Index i, Index count) { return load_each<K>(plane + i, count, T{0}); })) /
             divisor;
    });
    return;
  }
  const bool halves = is_halving(h) && is_halving(w);
  for_planes(planes, h.extent * width, [&](Index p) {
    const T* const plane = x + p * h.extent * width;
    T* out = y + p * rows * columns;
    for (Index i = 0; i < rows; ++i, out += columns) {
      if (halves) {
        const T *top = plane + 2 * i * width, *bottom = top + width;
        for (Index j = 0; j < columns; ++j)
          out[j] = (top[2 * j] + top[2 * j + 1] + bottom[2 * j] + bottom[2 * j + 1]) / T{4};
        continue;
      }
      for (Index j = 0; j < columns; ++j) {
        T sum{0};
        for (Index r = h.begin[i]; r < h.end[i]; ++r)
          for (Index c = w.begin[j]; c < w.end[j]; ++c) sum += plane[r * width + c];
        out[j] = sum / (static_cast<T>(h.divisor[i]) * static_cast<T>(w.divisor[j]));
      }
    }
  });
}

template <class T>
void avg_pool_gradient(const T* g, T* x, Index planes, const Spans& h, const Spans& w) {
  const Index rows = h.size(), columns = w.size(), width = w.extent;
  const bool halves = is_halving(h) && is_halving(w), whole = is_whole(h) && is_whole(w);
  for_planes(planes, h.extent * width, [&](Index p) {
    T* const plane = x + p * h.extent * width;
    const T* from = g + p * rows * columns;
    if (whole) {
      std::fill_n(plane, h.extent * width,
                  *from / (static_cast<T>(h.divisor[0]) * static_cast<T>(w.divisor[0])));
      return;
    }
    std::fill_n(plane, halves ? 0 : h.extent * width, T{0});
    for (Index i = 0; i < rows; ++i, from += columns) {
      if (halves) {
        T *top = plane + 2 * i * width, *bottom = top + width;
        for (Index j = 0; j < columns; ++j)
          top[2 * j] = top[2 * j + 1] = bottom[2 * j] = bottom[2 * j + 1] = from[j] / T{4};
        for (Index j = 2 * columns; j < width; ++j) top[j] = bottom[j] = T{0};
        continue;
      }
      for (Index j = 0; j < columns; ++j) {
        const T share = from[j] / (static_cast<T>(h.divisor[i]) * static_cast<T>(w.divisor[j]));
        for (Index r = h.begin[i]; r < h.end[i]; ++r)
          for (Index c = w.begin[j]; c < w.end[j]; ++c) plane[r * width + c] += share;
      }
    }
    if (halves) std::fill(plane + 2 * rows * width, plane + h.extent * width, T{0});
  });
}

template void max_pool(const float*, float*, Index, const Windows&);
template void max_pool(const double*, double*, Index, const Windows&);
template void max_pool_gradient(const float*, const float*, float*, Index, const Windows&);
template void max_pool_gradient(const double*, const double*, double*, Index, const Windows&);
template void max_pool_index(const float*, Index*, Index, const Windows&);
template void max_pool_index(const double*, Index*, Index, const Windows&);
template void avg_pool(const float*, float*, Index, const Spans&, const Spans&);
template void avg_pool(const double*, double*, Index, const Spans&, const Spans&);
template void avg_pool_gradient(const float*, float*, Index, const Spans&, const Spans&);
template void avg_pool_gradient(const double*, double*, Index, const Spans&, const Spans&);

}  // namespace retort::kernels
