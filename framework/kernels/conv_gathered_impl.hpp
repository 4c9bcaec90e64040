// Products of input elements, read in place, with panels whose columns are output channels.
#pragma once

#include "retort/framework/kernels/conv_impl.hpp"
#include "retort/framework/kernels/micro_kernel_impl.hpp"

namespace retort::kernels {

/// Steps of a panel that stay in the first-level cache together with the input.
inline constexpr Index gathered_depth = panel_registers == 4 ? 128 : 256;
/// The maximum number of rows of a tile: sums, operands and addresses fit into the registers.
template <int Registers>
inline constexpr int gathered_rows = panel_registers == 4 ? (Registers <= 2 ? 8 : 6)
                                     : Registers == 1     ? 8
                                     : Registers == 2     ? 6
                                                          : 4;

/// Calls f.operator()<Registers>(column) for the panels of `columns` columns.
template <class T, class F>
void for_panels(Index columns, F f) {
  Index column = 0;
  for (Index registers = divide_up(columns, lanes<T>); registers > 0;) {
    // AVX2: three registers at the end, since one register has too few sums to hide their latency.
    constexpr Index most = panel_registers == 4 ? 4 : 3;
    const Index wide = registers <= most ? registers : panel_registers;
    unrolled<most>([&](auto fewer) {
      if (wide == fewer + 1) f.template operator()<fewer + 1>(column);
    });
    column += wide * lanes<T>, registers -= wide;
  }
}

/// sums [Rows][Registers] = start (the sums so far if null) + Σ over `depth` steps p of
/// x[rows[i] + steps[p]] · b [p][Registers].
template <int Rows, int Registers, class T>
[[gnu::flatten, gnu::noinline]] void gathered_tile(const T* x, const Index* rows, const Index* steps,
                                                   Index depth, const T* b, const T* start, T* sums) {
  constexpr Index width = Registers * lanes<T>;
  Batch<T> sum[Rows][Registers];
  const T* row[Rows];
  const T* const from = start == nullptr ? sums : start;
  const Index stride = start == nullptr ? width : 0;
  unrolled<Rows>([&](auto i) {
    row[i] = x + rows[i];
    unrolled<Registers>([&](auto j) { sum[i][j] = load(from + i * stride + j * lanes<T>); });
  });
  for (const T* const end = b + depth * width; b != end; b += width) {
    const Index at = *steps++;
    Batch<T> columns[Registers];
    unrolled<Registers>([&](auto j) { columns[j] = load(b + j * lanes<T>); });
    unrolled<Rows>([&](auto i) {
      const Batch<T> factor(row[i][at]);
      unrolled<Registers>([&](auto j) { sum[i][j] = fma<T>(factor, columns[j], sum[i][j]); });
    });
  }
  unrolled<Rows>([&](auto i) {
    unrolled<Registers>([&](auto j) { store<T>(sums + i * width + j * lanes<T>, sum[i][j]); });
  });
}

/// sums [count][columns], in panels, = start [columns] (the sums so far if null) + Σ over `depth` steps p of
/// x[rows[i] + steps[p]] · B [first + p][columns]. B consists of panels of `whole` steps.
template <class T>
void gathered_product(const T* x, const Index* rows, Index count, const Index* steps, Index depth, const T* b,
                      Index first, Index whole, const T* start, T* sums, Index columns) {
  for_panels<T>(columns, [&]<int Registers>(Index column) {
    constexpr Index width = Registers * lanes<T>;
    for_low_tiles<gathered_rows<Registers>>(0, count, [&]<int Rows>(Index row) {
      gathered_tile<Rows, Registers>(x, rows + row, steps, depth, b + column * whole + first * width,
                                     start == nullptr ? nullptr : start + column,
                                     sums + column * count + row * width);
    });
  });
}

/// y [columns][…] = transpose of rows [first, first + count) of sums in panels of `whole` rows; y has row
/// stride `stride`.
template <class T>
void transpose_panels(const T* sums, Index first, Index whole, Index count, Index columns, T* y,
                      Index stride) {
  for_panels<T>(columns, [&]<int Registers>(Index column) {
    constexpr Index width = Registers * lanes<T>;
    transpose(sums + column * whole + first * width, width, count, std::min(width, columns - column),
              y + column * stride, stride);
  });
}

}  // namespace retort::kernels
