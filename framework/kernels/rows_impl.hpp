// Rows in registers: iteration, loads, sums, transposes, and the shifts of exponentials. Shared by most
// kernels.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "retort/framework/kernels/simd_impl.hpp"

namespace retort::kernels {

/// Exponentials per thread and chunk: about ten microseconds.
inline constexpr std::int64_t row_grain = 16384;
/// Elements summed in T before the sum is added to a double; they stay in the first-level cache.
inline constexpr std::int64_t row_block = 1024;

inline std::int64_t rows_at_a_time(std::int64_t row) {
  return std::max<std::int64_t>(1, row_grain / std::max<std::int64_t>(1, row));
}

/// Loads `count` lanes from x, or all of them; the others are `fill`.
template <class T>
inline Batch<T> load_lanes(const T* x, std::int64_t count, T fill) {
  return count == lanes<T> ? load(x) : load_partial(x, count, fill);
}
template <class T>
inline void store_lanes(T* y, const Batch<T>& v, std::int64_t count) {
  if (count == lanes<T>)
    store(y, v);
  else
    store_partial(y, v, count);
}

/// Prefetches K adjacent registers.
template <int K, class T>
inline void prefetch_each(const T* x) {
  constexpr std::int64_t line = 64 / sizeof(T);
  for (std::int64_t i = 0; i < K * lanes<T>; i += line) prefetch(x + i);
}

/// Likewise into the second-level cache.
template <int K, class T>
inline void prefetch_far(const T* x) {
  constexpr std::int64_t line = 64 / sizeof(T);
  for (std::int64_t i = 0; i < K * lanes<T>; i += line) __builtin_prefetch(x + i, 0, 2);
}

/// Loads K adjacent registers; for K = 1, `count` lanes of one.
template <int K, class T>
inline std::array<Batch<T>, K> load_each(const T* x, std::int64_t count, T fill) {
  std::array<Batch<T>, K> v;
  if constexpr (K == 1)
    v[0] = load_lanes(x, count, fill);
  else
    for (int k = 0; k < K; ++k) v[k] = load(x + k * lanes<T>);
  return v;
}
template <class T, std::size_t K>
inline void store_each(T* y, const std::array<Batch<T>, K>& v, std::int64_t count) {
  if constexpr (K == 1)
    store_lanes(y, v[0], count);
  else
    for (std::size_t k = 0; k < K; ++k) store<T>(y + static_cast<std::int64_t>(k) * lanes<T>, v[k]);
}

/// Processes n elements K registers at a time with f.operator()<K>(i, lanes), then two, then one at a time
/// with f.operator()<1>(i, count), the last of which may have fewer lanes.
template <class T, int K, class F>
inline void walk(std::int64_t n, F f) {
  std::int64_t i = 0;
  for (; i + K * lanes<T> <= n; i += K * lanes<T>) f.template operator()<K>(i, lanes<T>);
  if constexpr (K > 2)
    for (; i + 2 * lanes<T> <= n; i += 2 * lanes<T>) f.template operator()<2>(i, lanes<T>);
  for (; i + lanes<T> <= n; i += lanes<T>) f.template operator()<1>(i, lanes<T>);
  if (i < n) f.template operator()<1>(i, n - i);
}

/// Calls f.operator()<4>(j) for every fourth j < n, then f.operator()<1>(j) for the remainder.
template <class F>
inline void in_fours(std::int64_t n, F f) {
  std::int64_t j = 0;
  for (; j + 4 <= n; j += 4) f.template operator()<4>(j);
  for (; j < n; ++j) f.template operator()<1>(j);
}

/// y[i] = f.operator()<L>(i, count), K registers at a time; `far` fetches the memory of the result.
template <class T, int K, class F>
inline void fill_row(T* y, std::int64_t n, bool far, F f) {
  constexpr std::int64_t line = 64 / sizeof(T);
  walk<T, K>(n, [&]<int L>(std::int64_t i, std::int64_t count) {
    for (std::int64_t j = 0; far && j < L * lanes<T>; j += line) prefetch_result(y + i + j);
    store_each<T>(y + i, f.template operator()<L>(i, count), count);
  });
}

/// The maximum of x [n]; -infinity if n = 0. NaN is ignored, since it shows in the exponentials.
template <class T>
T row_max(const T* x, std::int64_t n) {
  std::array<Batch<T>, 4> m;
  m.fill(Batch<T>(-infinity<T>));
  walk<T, 4>(n, [&]<int K>(std::int64_t i, std::int64_t count) {
    const auto v = load_each<K>(x + i, count, -infinity<T>);
    for (int k = 0; k < K; ++k) m[k] = max_of<T>(v[k], m[k]);
  });
  return max_lanes<T>(max_of<T>(max_of<T>(m[0], m[1]), max_of<T>(m[2], m[3])));
}

/// The sum of the results of add.operator()<K>(i, count) for K registers (zeros in the lanes beyond count).
template <class T, int K, class F>
double row_sum(std::int64_t n, F add) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += row_block) {
    Batch<T> even(T{0}), odd(T{0});
    walk<T, K>(std::min(n - begin, row_block), [&]<int L>(std::int64_t i, std::int64_t count) {
      const std::array<Batch<T>, L> v = add.template operator()<L>(begin + i, count);
      if constexpr (L == 4) {
        even += v[0] + v[1];
        odd += v[2] + v[3];
      } else {
        for (int k = 0; k < L; ++k) (k % 2 == 0 ? even : odd) += v[k];
      }
    });
    total += static_cast<double>(sum_lanes<T>(even + odd));
  }
  return total;
}

/// Rows of at most this many elements are transposed, a register of rows at a time, so that each lane
/// contains a row: no sums cross lanes, and no lane is unused.
inline constexpr std::int64_t short_row = 64;

namespace detail {
#if defined(__AVX__)
/// Transposes a square of 8 × 8 floats or 4 × 4 doubles; the rows have strides `from` and `to`. Loads put
/// halves of two rows into each register, so that no shuffle crosses the lanes.
inline void transpose_square(const float* x, std::int64_t from, float* y, std::int64_t to) {
  for (int half = 0; half < 2; ++half, x += 4, y += 4 * to) {
    __m256 r[4], s[4];
    for (int i = 0; i < 4; ++i) r[i] = _mm256_loadu2_m128(x + (i + 4) * from, x + i * from);
    for (int i = 0; i < 4; i += 2) {
      s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      _mm256_storeu_ps(y + 2 * i * to, _mm256_shuffle_ps(s[i], s[i + 2], 0x44));
      _mm256_storeu_ps(y + (2 * i + 1) * to, _mm256_shuffle_ps(s[i], s[i + 2], 0xee));
    }
  }
}
inline void transpose_square(const double* x, std::int64_t from, double* y, std::int64_t to) {
  for (int half = 0; half < 2; ++half, x += 2, y += 2 * to) {
    const __m256d even = _mm256_loadu2_m128d(x + 2 * from, x),
                  odd = _mm256_loadu2_m128d(x + 3 * from, x + from);
    _mm256_storeu_pd(y, _mm256_unpacklo_pd(even, odd));
    _mm256_storeu_pd(y + to, _mm256_unpackhi_pd(even, odd));
  }
}
#endif
}  // namespace detail

/// y [columns][rows] = transpose of x [rows][columns]; the rows of x have stride `from`, those of y `to`.
template <class T>
inline void transpose(const T* x, std::int64_t from, std::int64_t rows, std::int64_t columns, T* y,
                      std::int64_t to) {
#if defined(__AVX__)
  constexpr std::int64_t side = 32 / sizeof(T);
  if (rows >= side && columns >= side) {
    // The last square in each direction may overlap the previous one and then rewrites the same values.
    for (std::int64_t r = 0; r < rows; r += side) {
      const T* const strip = x + std::min(r, rows - side) * from;
      for (std::int64_t c = 0; c < columns; c += side) {
        const std::int64_t first = std::min(c, columns - side);
        // The hardware detects no streams in short runs of many rows, so the next strip is prefetched.
        if (c % (2 * side) == 0)
          for (std::int64_t i = 0; i < side; ++i) prefetch(strip + (side + i) * from + c);
        detail::transpose_square(strip + first, from, y + first * to + std::min(r, rows - side), to);
      }
    }
    return;
  }
#endif
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c) y[c * to + r] = x[r * from + c];
}
/// Transposes `count` rows of x [lanes][n] to y [n][lanes]; missing rows are 0.
template <class T>
inline void transpose_in(const T* x, std::int64_t n, std::int64_t count, T* y) {
  if (count < lanes<T>) std::fill_n(y, n * lanes<T>, T{0});
  transpose(x, n, count, n, y, lanes<T>);
}
/// The inverse of transpose_in().
template <class T>
inline void transpose_out(const T* x, std::int64_t n, std::int64_t count, T* y) {
  transpose(x, lanes<T>, n, count, y, n);
}

/// The shift of the exponentials of a long row: the running maximum per block, so that one pass suffices. A
/// factor corrects the blocks before a larger maximum.
template <class T>
class RunningShift {
 public:
  /// The block size, and the maximum number of blocks per row.
  static constexpr std::int64_t most_blocks = 256;
  static std::int64_t block_of(std::int64_t n) {
    return std::max(row_block, ((n + most_blocks - 1) / most_blocks + 63) / 64 * 64);
  }

  RunningShift() {}  // the shifts are written before they are read

  /// Starts block `index`, whose maximum is `max`. Returns the change of the shift: 0, or the old minus the
  /// new shift. It is 0 after blocks of only -infinity, whose exponentials are 0 for any shift.
  T next(std::int64_t index, T max) {
    const bool starts = index == 0 || greatest_ == -infinity<T>;
    greatest_ = std::max(greatest_, max);
    shifts_[index] = greatest_ == -infinity<T> ? T{0} : greatest_;  // avoids -inf - -inf
    return starts ? T{0} : shifts_[index - 1] - shifts_[index];
  }
  /// Starts from a known maximum.
  void expect(T max) { greatest_ = max; }

  T at(std::int64_t index) const { return shifts_[index]; }
  T greatest() const { return greatest_; }
  /// The remaining factor of a block's exponentials; `scale` is 1/temperature.
  T factor(std::int64_t index, T scale) const {
    const T fall = shifts_[index] - greatest_;
    return fall >= T{0} ? T{1} : exp<T>(Batch<T>(fall * scale)).get(0);
  }

 private:
  T greatest_ = -infinity<T>;
  std::array<T, most_blocks> shifts_;
};

/// Thread-local memory for n elements, 64-byte aligned, reused by later calls with the same slot.
template <class T, int Slot = 0>
T* scratch(std::int64_t n) {
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  thread_local std::vector<Line> lines;
  const std::size_t needed = (static_cast<std::size_t>(n) * sizeof(T) + sizeof(Line) - 1) / sizeof(Line);
  if (lines.size() < needed) lines.resize(needed);
  return reinterpret_cast<T*>(lines.data());
}

}  // namespace retort::kernels
