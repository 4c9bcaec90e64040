// Products of input elements, read in place, with panels whose columns are output channels. Taps in the
// padding are skipped.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "retort/framework/kernels/conv_impl.hpp"
#include "retort/framework/kernels/micro_kernel_impl.hpp"

namespace retort::kernels {

/// Steps of a panel that stay in the first-level cache together with the input.
inline constexpr Index gathered_depth = panel_registers == 4 ? 128 : 256;
/// The maximum number of rows of a tile: sums, operands and addresses fit into the registers.
constexpr int gathered_rows(Index registers) {
  if (panel_registers == 4) return registers <= 2 ? 8 : 6;
  return registers == 1 ? 8 : registers == 2 ? 6 : 4;
}

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

/// A position or a tap: the offset of its elements in x, and its number in the sums or in B.
struct Place {
  std::uint32_t x, number;
};

/// Rows of a product that have the same steps. Both are in the order of their numbers.
struct Part {
  std::vector<Place> rows, steps;
  std::vector<Index> blocks;  ///< the first of the steps in each block of B, and their number
};

/// sums [Rows][Registers] = start (the sums so far if null) + Σ over steps p of
/// x[rows[i] + p] · b [p][Registers].
template <int Rows, int Registers, class T>
[[gnu::flatten, gnu::noinline]] void gathered_tile(const T* x, const Place* rows, const Place* steps,
                                                   const Place* end, const T* b, const T* start, T* sums) {
  constexpr Index width = Registers * lanes<T>;
  Batch<T> sum[Rows][Registers];
  const T* row[Rows];
  unrolled<Rows>([&](auto i) {
    row[i] = x + rows[i].x;
    const T* const from = start == nullptr ? sums + Index{rows[i].number} * width : start;
    unrolled<Registers>([&](auto j) { sum[i][j] = load(from + j * lanes<T>); });
  });
  for (; steps != end; ++steps) {
    const Index at = steps->x;
    const T* const of_step = b + Index{steps->number} * width;
    Batch<T> columns[Registers];
    unrolled<Registers>([&](auto j) { columns[j] = load(of_step + j * lanes<T>); });
    unrolled<Rows>([&](auto i) {
      const Batch<T> factor(row[i][at]);
      unrolled<Registers>([&](auto j) { sum[i][j] = fma<T>(factor, columns[j], sum[i][j]); });
    });
  }
  unrolled<Rows>([&](auto i) {
    T* const to = sums + Index{rows[i].number} * width;
    unrolled<Registers>([&](auto j) { store<T>(to + j * lanes<T>, sum[i][j]); });
  });
}

/// sums [count][columns], in panels, = start [columns] (the sums so far if null) + Σ over the steps p of one
/// block of x[row + p] · B [p][columns], for the rows of all parts. B consists of panels of `depth` steps.
/// Rows from number `count` and steps from number `depth` on are left out.
template <class T>
void gathered_product(const T* x, const std::vector<Part>& parts, Index count, Index block, Index depth,
                      const T* b, const T* start, T* sums, Index columns) {
  const auto below = [](Index number, const Place* begin, const Place* end) {
    const auto precedes = [](const Place& place, Index n) { return place.number < n; };
    return begin == end || precedes(end[-1], number) ? end : std::lower_bound(begin, end, number, precedes);
  };
  for_panels<T>(columns, [&]<int Registers>(Index column) {
    for (const Part& part : parts) {
      const Place *const rows = part.rows.data(), *const steps = part.steps.data() + part.blocks[block],
                         *const end = below(depth, steps, part.steps.data() + part.blocks[block + 1]);
      const Index row_count = below(count, rows, rows + part.rows.size()) - rows;
      for_low_tiles<gathered_rows(Registers)>(0, row_count, [&]<int Rows>(Index row) {
        gathered_tile<Rows, Registers>(x, rows + row, steps, end, b + column * depth,
                                       start == nullptr ? nullptr : start + column, sums + column * count);
      });
    }
  });
}

/// The parts of a product for lines [top, end) of positions of `images` images and the taps of `channels`
/// channels. Rows are positions and steps are taps, or the reverse `by_taps`. Steps that read padding are
/// left out where that saves time. Blocks have `deepest` steps, and sums that many registers of columns.
std::vector<Part> parts_of(const Correlation& c, const Source& source, Index images, Index top, Index end,
                           Index channels, bool by_taps, Index deepest, Index registers);

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
