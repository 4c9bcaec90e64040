// Small matrix products on operands in cache, for kernels that consist of several of them. Nothing is copied
// or split among threads.
#pragma once

#include <algorithm>

#include "retort/framework/base/dtype.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {

/// An operand whose element [row, step] is at data[row · row_step + step · depth_step].
template <class T>
struct Operand {
  const T* data;
  Index row_step, depth_step;
};

namespace detail {
#if defined(__AVX512F__)
inline constexpr int highest_tile = 12;
#else
inline constexpr int highest_tile = 6;
#endif

/// C [Rows, columns] (+)= A · B for at most two registers of columns, of which the last has `last` lanes.
template <int Rows, int Registers, bool Full, bool Add, class T>
void small_tile(const Operand<T>& a, const T* b, Index b_step, Index depth, T* c, Index c_step, Index last) {
  Batch<T> sums[Rows][Registers];
  const auto lane_count = [&](int j) { return Full || j + 1 < Registers ? lanes<T> : last; };
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Registers; ++j)
      sums[i][j] = Add ? load_lanes(c + i * c_step + j * lanes<T>, lane_count(j), T{0}) : Batch<T>(T{0});
  const T* factors = a.data;
  for (Index p = 0; p < depth; ++p, factors += a.depth_step, b += b_step) {
    Batch<T> columns[Registers];
    for (int j = 0; j < Registers; ++j) columns[j] = load_lanes(b + j * lanes<T>, lane_count(j), T{0});
    for (int i = 0; i < Rows; ++i) {
      const Batch<T> factor(factors[i * a.row_step]);
      for (int j = 0; j < Registers; ++j) sums[i][j] = fma<T>(factor, columns[j], sums[i][j]);
    }
  }
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Registers; ++j) store_lanes(c + i * c_step + j * lanes<T>, sums[i][j], lane_count(j));
}

template <int Registers, bool Full, bool Add, class T>
void small_tiles(Index rows, const Operand<T>& a, const T* b, Index b_step, Index depth, T* c, Index c_step,
                 Index last) {
  // Tiles of about equal height avoid a low one, whose few sums would wait for each other.
  const Index count = (rows + highest_tile - 1) / highest_tile;
  for (Index i = 0; i < count; ++i) {
    const Index begin = rows * i / count, height = rows * (i + 1) / count - begin;
    const Operand<T> from{a.data + begin * a.row_step, a.row_step, a.depth_step};
    const auto run = [&]<int Rows>(std::integral_constant<int, Rows>) {
      if (height == Rows)
        small_tile<Rows, Registers, Full, Add>(from, b, b_step, depth, c + begin * c_step, c_step, last);
    };
    [&]<int... I>(std::integer_sequence<int, I...>) {
      (run(std::integral_constant<int, I + 1>()), ...);
    }(std::make_integer_sequence<int, highest_tile>());
  }
}
}  // namespace detail

/// C [rows, columns] = A · B, or C += A · B for Add. A is [rows, depth] with arbitrary strides; B [depth,
/// columns] and C [rows, columns] have contiguous rows with strides b_step and c_step.
template <bool Add, class T>
void small_product(Index rows, Index columns, Index depth, const Operand<T>& a, const T* b, Index b_step,
                   T* c, Index c_step) {
  for (Index j = 0; j < columns; j += 2 * lanes<T>) {
    const Index rest = columns - j;
    if (rest >= 2 * lanes<T>)
      detail::small_tiles<2, true, Add>(rows, a, b + j, b_step, depth, c + j, c_step, lanes<T>);
    else if (rest > lanes<T>)
      detail::small_tiles<2, false, Add>(rows, a, b + j, b_step, depth, c + j, c_step, rest - lanes<T>);
    else
      detail::small_tiles<1, false, Add>(rows, a, b + j, b_step, depth, c + j, c_step, rest);
  }
}

}  // namespace retort::kernels
