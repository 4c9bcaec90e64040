// Small matrix products on operands in cache, for kernels that consist of several of them. Nothing is copied
// or split among threads.
#pragma once

#include <algorithm>

#include "retort/framework/base/dtype.hpp"
#include "retort/framework/kernels/micro_kernel_impl.hpp"

namespace retort::kernels {

/// An operand whose element [row, step] is at data[row · row_step + step · depth_step].
template <class T>
struct Operand {
  const T* data;
  Index row_step, depth_step;
};

namespace detail {
/// C [Rows, columns] (+)= A · B for a few registers of columns, of which the last has `last` lanes.
template <int Rows, int Registers, bool Full, bool Add, class T>
[[gnu::flatten, gnu::noinline]] void small_tile(const T* a, Index row_step, Index depth_step, const T* b,
                                                Index b_step, Index depth, T* c, Index c_step, Index last) {
  Batch<T> sums[Rows][Registers];
  const auto lane_count = [&](int j) { return Full || j + 1 < Registers ? lanes<T> : last; };
  unrolled<Rows>([&](auto i) {
    unrolled<Registers>([&](auto j) {
      sums[i][j] = Add ? load_lanes(c + i * c_step + j * lanes<T>, lane_count(j), T{0}) : Batch<T>(T{0});
    });
  });
#pragma GCC unroll 4
  for (Index p = 0; p < depth; ++p, a += depth_step, b += b_step) {
    Batch<T> columns[Registers];
    unrolled<Registers>([&](auto j) { columns[j] = load_lanes(b + j * lanes<T>, lane_count(j), T{0}); });
    unrolled<Rows>([&](auto i) {
      const Batch<T> factor(a[i * row_step]);
      unrolled<Registers>([&](auto j) { sums[i][j] = fma<T>(factor, columns[j], sums[i][j]); });
    });
  }
  unrolled<Rows>([&](auto i) {
    unrolled<Registers>(
        [&](auto j) { store_lanes(c + i * c_step + j * lanes<T>, sums[i][j], lane_count(j)); });
  });
}

/// small_product() for at most `Most` registers of columns at a time.
template <int Highest, int Most, bool Add, class T>
void small_tiles(Index rows, Index columns, Index depth, const Operand<T>& a, const T* b, Index b_step, T* c,
                 Index c_step) {
  const Index registers = (columns + lanes<T> - 1) / lanes<T>, last = columns - (registers - 1) * lanes<T>;
  for_low_tiles<Highest>(0, rows, [&]<int Rows>(Index row) {
    const T* const from = a.data + row * a.row_step;
    T* const to = c + row * c_step;
    for (Index at = 0, wide; at < registers; at += wide) {
      wide = std::min<Index>(Most, registers - at);
      // One register alone would have too few sums to hide their latency.
      if (registers - at == Most + 1) wide = (Most + 2) / 2;
      unrolled<Most>([&](auto fewer) {
        if (wide != fewer + 1) return;
        const Index count = at + wide < registers ? lanes<T> : last;  // of the last register
        const auto tile = [&]<bool Full>() {
          small_tile<Rows, fewer + 1, Full, Add>(from, a.row_step, a.depth_step, b + at * lanes<T>, b_step,
                                                 depth, to + at * lanes<T>, c_step, count);
        };
        if constexpr (fewer + 1 == Most)
          if (count == lanes<T>) return tile.template operator()<true>();
        tile.template operator()<false>();
      });
    }
  });
}
}  // namespace detail

/// C [rows, columns] = A · B, or C += A · B for Add. A is [rows, depth] with arbitrary strides; B [depth,
/// columns] and C [rows, columns] have contiguous rows with strides b_step and c_step. B is read for each
/// tile of rows, so it should fit into the first-level cache.
template <bool Add, class T>
void small_product(Index rows, Index columns, Index depth, const Operand<T>& a, const T* b, Index b_step,
                   T* c, Index c_step) {
  if (columns <= 2 * lanes<T>)  // sums and operands of more rows fit into the registers
    detail::small_tiles<tile_rows, 2, Add>(rows, columns, depth, a, b, b_step, c, c_step);
  else
    detail::small_tiles<low_rows, panel_registers, Add>(rows, columns, depth, a, b, b_step, c, c_step);
}

}  // namespace retort::kernels
