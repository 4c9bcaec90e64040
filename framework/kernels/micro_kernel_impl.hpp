// Register tiles for matrix products and convolutions.
#pragma once

#include <algorithm>

#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {

/// Rows of a full tile. With two registers of columns, the sums and operands fit into the registers.
#if defined(__AVX512F__)
inline constexpr int tile_rows = 12;
#else
inline constexpr int tile_rows = 6;
#endif
/// The maximum number of rows of the remaining, lower tiles.
inline constexpr int low_rows = 6;
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

/// Calls f.operator()<Rows>(row) for the tiles of rows [begin, end): full ones, then lower ones of about
/// equal height.
template <class F>
void for_tiles(std::int64_t begin, std::int64_t end, F f) {
  if constexpr (tile_rows > low_rows)
    for (; end - begin >= tile_rows; begin += tile_rows) f.template operator()<tile_rows>(begin);
  const std::int64_t rest = end - begin, count = (rest + low_rows - 1) / low_rows;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = begin + rest * i / count;
    switch (begin + rest * (i + 1) / count - row) {
      case 1: f.template operator()<1>(row); break;
      case 2: f.template operator()<2>(row); break;
      case 3: f.template operator()<3>(row); break;
      case 4: f.template operator()<4>(row); break;
      case 5: f.template operator()<5>(row); break;
      default: f.template operator()<6>(row); break;
    }
  }
}

}  // namespace retort::kernels
