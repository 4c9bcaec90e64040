#include "retort/framework/kernels/distance.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {
namespace {

constexpr Index work_grain = 32768;  // pairs of numbers that justify another thread
constexpr Index block = 16;          // rows that use a panel while it is in the cache
/// Registers per row of a panel. Four rows of results are kept in registers; in the gradient also four rows
/// of vectors, for which AVX2 has too few registers.
constexpr int together = 2;
template <class T>
constexpr int together_backward = lanes<T> * sizeof(T) == 64 ? 2 : 1;

/// Calls f(batch, first, count) for blocks of `rows`, on all threads.
template <class F>
void for_blocks(Index batch, Index rows, Index work_per_row, F f) {
  const Index blocks = (rows + block - 1) / block;
  parallel_for(batch * blocks, std::max<Index>(1, work_grain / (block * work_per_row + 1)),
               [&](Index begin, Index end) {
                 for (Index i = begin; i < end; ++i) {
                   const Index first = i % blocks * block;
                   f(i / blocks, first, std::min(block, rows - first));
                 }
               });
}

/// The distance of a [M] from b [M], for squares that overflow or underflow.
template <class T>
T scaled_distance(const T* a, const T* b, Index M) {
  T most = 0, sum = 0;
  for (Index k = 0; k < M; ++k) most = std::max(most, std::fabs(a[k] - b[k]));
  const T scale = most > 0 && most <= std::numeric_limits<T>::max() ? most : T(1);
  for (Index k = 0; k < M; ++k) {
    const T difference = (a[k] - b[k]) / scale;
    sum += difference * difference;
  }
  return scale * std::sqrt(sum);
}

/// The distances of K rows of a from C registers of rows of b (`count` rows if C = 1), which are the columns
/// of `panel`.
template <int K, int C, class T>
void distance_tile(const T* a, const T* b, const T* panel, T* y, Index R, Index M, Index count) {
  std::array<Batch<T>, K * C> sums;
  sums.fill(Batch<T>(T{0}));
  for (Index k = 0; k < M; ++k) {
    const std::array<Batch<T>, C> to = load_each<C>(panel + k * together * lanes<T>, count, T{0});
    for (int i = 0; i < K; ++i) {
      const Batch<T> from(a[i * M + k]);
      for (int c = 0; c < C; ++c) {
        const Batch<T> difference = from - to[c];
        sums[i * C + c] = fma<T>(difference, difference, sums[i * C + c]);
      }
    }
  }
  constexpr T least = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();
  for (int i = 0; i < K; ++i)
    for (int c = 0; c < C; ++c) {
      const Batch<T>& squares = sums[i * C + c];
      T* const out = y + i * R + c * lanes<T>;
      store_lanes<T>(out, xsimd::sqrt(squares), count);
      if (xsimd::all((squares >= Batch<T>(least)) & (squares <= Batch<T>(std::numeric_limits<T>::max()))))
        continue;
      alignas(64) T all[lanes<T>];
      squares.store_aligned(all);
      for (Index j = 0; j < count; ++j)
        if (!(all[j] >= least && all[j] <= std::numeric_limits<T>::max()))
          out[j] = scaled_distance(a + i * M, b + (c * lanes<T> + j) * M, M);
    }
}

/// C registers of K rows of da (`count` elements if C = 1). With `divides`, g is divided by the distance
/// here.
template <bool divides, int K, int C, class T>
void gradient_tile(const T* a, const T* panel, const T* g, const T* distance, T* da, Index R, Index M,
                   Index count) {
  std::array<Batch<T>, K * C> from, sums;
  sums.fill(Batch<T>(T{0}));
  for (int i = 0; i < K; ++i) {
    const std::array<Batch<T>, C> row = load_each<C>(a + i * M, count, T{0});
    for (int c = 0; c < C; ++c) from[i * C + c] = row[c];
  }
  for (Index j = 0; j < R; ++j) {
    const std::array<Batch<T>, C> to = load_each<C>(panel + j * together_backward<T> * lanes<T>, count, T{0});
    for (int i = 0; i < K; ++i) {
      const Index index = j * block + i;
      const Batch<T> factor(g[index]);
      if (divides && distance[index] == 0) continue;
      for (int c = 0; c < C; ++c) {
        Batch<T> difference = from[i * C + c] - to[c];
        if constexpr (divides) difference = difference / Batch<T>(distance[index]);
        sums[i * C + c] = fma<T>(factor, difference, sums[i * C + c]);
      }
    }
  }
  for (int i = 0; i < K; ++i)
    for (int c = 0; c < C; ++c) store_lanes<T>(da + i * M + c * lanes<T>, sums[i * C + c], count);
}

}  // namespace

template <class T>
void distances(const T* a, const T* b, T* y, Index batch, Index P, Index R, Index M) {
  constexpr Index width = together * lanes<T>;
  const Index panels = (R + width - 1) / width;
  T* const packed = scratch<T>(batch * panels * M * width);
  parallel_for(batch * panels, std::max<Index>(1, work_grain / (M * width)), [=](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index first = i % panels * width;
      transpose(b + (i / panels * R + first) * M, M, std::min(width, R - first), M, packed + i * M * width,
                width);
    }
  });
  for_blocks(batch, P, R * M, [=](Index item, Index begin, Index rows) {
    for (Index first = 0; first < R; first += width) {
      const T* const panel = packed + (item * panels * width + first) * M;
      in_fours(rows, [&]<int K>(Index i) {
        const Index row = item * P + begin + i;
        walk<T, together>(std::min(width, R - first), [&]<int C>(Index j, Index count) {
          distance_tile<K, C>(a + row * M, b + (item * R + first + j) * M, panel + j, y + row * R + first + j,
                              R, M, count);
        });
      });
    }
  });
}

template <class T>
bool distance_scales(const T* g, const T* y, T* scale, Index n) {
  std::atomic<bool> finite = true;
  parallel_for(n, work_grain, [&](Index begin, Index end) {
    const Batch<T> zero(T{0});
    Mask<T> ordinary(true);
    for (Index i = begin; i < end; i += lanes<T>) {
      const Index count = std::min(lanes<T>, end - i);
      const Batch<T> distance = load_lanes(y + i, count, T{1});
      const Batch<T> quotient = select(distance == zero, zero, load_lanes(g + i, count, T{0}) / distance);
      ordinary = ordinary & (quotient - quotient == zero);
      store_lanes(scale + i, quotient, count);
    }
    if (!xsimd::all(ordinary)) finite = false;
  });
  return finite;
}

template <class T>
void distances_backward(const T* a, const T* b, Upstream<T> g, T* da, Index batch, Index P, Index R,
                        Index M) {
  constexpr Index width = together_backward<T> * lanes<T>;
  const Index panels = (M + width - 1) / width;
  T* const packed = scratch<T>(batch * panels * R * width);
  parallel_for(batch * panels, std::max<Index>(1, work_grain / (R * width)), [=](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index first = i % panels * width, count = std::min(width, M - first);
      for (Index j = 0; j < R; ++j)
        std::copy_n(b + (i / panels * R + j) * M + first, count, packed + (i * R + j) * width);
    }
  });
  for_blocks(batch, P, R * M, [=](Index item, Index begin, Index rows) {
    const auto gathered = [&](const T* from, T* to) {  // [R][block]
      from += item * P * R + begin * g.row;
      for (Index j = 0; j < R; ++j)
        for (Index i = 0; i < rows; ++i) to[j * block + i] = from[i * g.row + j * g.column];
      return to;
    };
    const T* const upstream = gathered(g.first, scratch<T, 1>(R * block));
    const T* const distance =
        g.distance == nullptr ? nullptr : gathered(g.distance, scratch<T, 2>(R * block));
    for (Index first = 0; first < M; first += width) {
      const T* const panel = packed + (item * panels * width + first) * R;
      in_fours(rows, [&]<int K>(Index i) {
        const Index row = (item * P + begin + i) * M + first;
        walk<T, together_backward<T>>(std::min(width, M - first), [&]<int C>(Index k, Index count) {
          if (distance == nullptr)
            gradient_tile<false, K, C>(a + row + k, panel + k, upstream + i, distance, da + row + k, R, M,
                                       count);
          else
            gradient_tile<true, K, C>(a + row + k, panel + k, upstream + i, distance + i, da + row + k, R, M,
                                      count);
        });
      });
    }
  });
}

template void distances(const float*, const float*, float*, Index, Index, Index, Index);
template void distances(const double*, const double*, double*, Index, Index, Index, Index);
template bool distance_scales(const float*, const float*, float*, Index);
template bool distance_scales(const double*, const double*, double*, Index);
template void distances_backward(const float*, const float*, Upstream<float>, float*, Index, Index, Index,
                                 Index);
template void distances_backward(const double*, const double*, Upstream<double>, double*, Index, Index, Index,
                                 Index);

}  // namespace retort::kernels
