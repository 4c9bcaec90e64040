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
/// The maximum number of rows of a tile: sums and operands fit into the registers.
template <int Registers>
inline constexpr int highest_tile = Registers <= 2 ? tile_rows : low_rows;

/// C [Rows, columns] (+)= A · B for a few registers of columns, of which the last has `last` lanes.
template <int Rows, int Registers, bool Full, bool Add, class T>
[[gnu::flatten]] void small_tile(const Operand<T>& a, const T* b, Index b_step, Index depth, T* c,
                                 Index c_step, Index last) {
  Batch<T> sums[Rows][Registers];
  const auto lane_count = [&](int j) { return Full || j + 1 < Registers ? lanes<T> : last; };
  unrolled<Rows>([&](auto i) {
    unrolled<Registers>([&](auto j) {
      sums[i][j] = Add ? load_lanes(c + i * c_step + j * lanes<T>, lane_count(j), T{0}) : Batch<T>(T{0});
    });
  });
  const T* factors = a.data;
  const Index row_step = a.row_step, depth_step = a.depth_step;
  for (Index p = 0; p < depth; ++p, factors += depth_step, b += b_step) {
    Batch<T> columns[Registers];
    unrolled<Registers>([&](auto j) { columns[j] = load_lanes(b + j * lanes<T>, lane_count(j), T{0}); });
    unrolled<Rows>([&](auto i) {
      const Batch<T> factor(factors[i * row_step]);
      unrolled<Registers>([&](auto j) { sums[i][j] = fma<T>(factor, columns[j], sums[i][j]); });
    });
  }
  unrolled<Rows>([&](auto i) {
    unrolled<Registers>(
        [&](auto j) { store_lanes(c + i * c_step + j * lanes<T>, sums[i][j], lane_count(j)); });
  });
}

template <int Registers, bool Full, bool Add, class T>
void small_tiles(Index rows, const Operand<T>& a, const T* b, Index b_step, Index depth, T* c, Index c_step,
                 Index last) {
  // Tiles of about equal height avoid a low one, whose few sums would wait for each other.
  constexpr Index highest = highest_tile<Registers>;
  const Index count = (rows + highest - 1) / highest;
  for (Index i = 0; i < count; ++i) {
    const Index begin = rows * i / count, height = rows * (i + 1) / count - begin;
    const Operand<T> from{a.data + begin * a.row_step, a.row_step, a.depth_step};
    unrolled<highest>([&](auto below) {
      if (height == below + 1)
        small_tile<below + 1, Registers, Full, Add>(from, b, b_step, depth, c + begin * c_step, c_step, last);
    });
  }
}
}  // namespace detail

/// C [rows, columns] = A · B, or C += A · B for Add. A is [rows, depth] with arbitrary strides; B [depth,
/// columns] and C [rows, columns] have contiguous rows with strides b_step and c_step.
template <bool Add, class T>
void small_product(Index rows, Index columns, Index depth, const Operand<T>& a, const T* b, Index b_step,
                   T* c, Index c_step) {
  constexpr Index width = panel_registers * lanes<T>;
  Index j = 0;
  for (; j + width <= columns; j += width)
    detail::small_tiles<panel_registers, true, Add>(rows, a, b + j, b_step, depth, c + j, c_step, lanes<T>);
  const Index rest = columns - j;
  unrolled<panel_registers>([&](auto registers) {
    if (rest > registers * lanes<T> && rest <= (registers + 1) * lanes<T>)
      detail::small_tiles<registers + 1, false, Add>(rows, a, b + j, b_step, depth, c + j, c_step,
                                                     rest - registers * lanes<T>);
  });
}

}  // namespace retort::kernels
