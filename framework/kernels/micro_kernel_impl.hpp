// Register tiles for matrix products and convolutions.
#pragma once

#include <algorithm>
#include <type_traits>
#include <utility>

#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {

/// Rows of a full tile with two registers of columns: sums and operands fit into the registers.
#if defined(__AVX512F__)
inline constexpr int tile_rows = 12;
#else
inline constexpr int tile_rows = 6;
#endif
/// The maximum number of rows of a lower tile, and of a tile with panel_registers registers of columns.
inline constexpr int low_rows = 6;
#if defined(__AVX512F__)
inline constexpr int panel_registers = 4;
#else
inline constexpr int panel_registers = 2;
#endif
/// Steps of a packed panel of B, two registers wide: fills the first-level cache.
inline constexpr std::int64_t panel_depth = 384;

/// sums[i][j] += Σ over `depth` steps p of a[p·a_step + i·a_row] · b(p)[j·lanes …].
template <int Rows, int Registers, class T, class B>
[[gnu::always_inline]] inline void accumulate(std::int64_t depth, const T* a, std::int64_t a_step,
                                              std::int64_t a_row, B b, Batch<T> (&sums)[Rows][Registers]) {
  for (std::int64_t p = 0; p < depth; ++p, a += a_step) {
    const T* const row = b(p);
    Batch<T> columns[Registers];
    for (int j = 0; j < Registers; ++j) columns[j] = load(row + j * lanes<T>);
    for (int i = 0; i < Rows; ++i) {
      const Batch<T> factor(a[i * a_row]);
      for (int j = 0; j < Registers; ++j) sums[i][j] = fma<T>(factor, columns[j], sums[i][j]);
    }
  }
}

/// Calls f(0), …, f(N - 1) with compile-time constants, so that arrays indexed by them stay in registers.
template <int N, class F>
[[gnu::always_inline]] inline void unrolled(const F& f) {
  [&]<int... I>(std::integer_sequence<int, I...>) {
    (f(std::integral_constant<int, I>()), ...);
  }(std::make_integer_sequence<int, N>());
}

/// Calls f.operator()<Rows>(row) for the tiles of rows [begin, end), of about equal height and at most
/// Highest rows each.
template <int Highest = low_rows, class F>
void for_low_tiles(std::int64_t begin, std::int64_t end, const F& f) {
  const std::int64_t count = (end - begin + Highest - 1) / Highest;
  if (count == 0) return;
  const std::int64_t low = (end - begin) / count;
  std::int64_t higher = (end - begin) % count;  // tiles of one more row
  for (std::int64_t row = begin, rows; row < end; row += rows, --higher) {
    rows = low + (higher > 0);
    unrolled<Highest>([&](auto fewer) {
      if (rows == fewer + 1) f.template operator()<fewer + 1>(row);
    });
  }
}

}  // namespace retort::kernels
