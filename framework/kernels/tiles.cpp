#include "retort/framework/kernels/tiles.hpp"

#include <algorithm>

#include "retort/framework/kernels/micro_kernel_impl.hpp"

namespace retort::kernels {
namespace {

/// C [rows, columns] = A · B, or C += A · B if `adds`. b_step and c_step are the strides of rows.
template <class T>
struct Small {
  Index rows, columns, depth;
  Operand<T> a;
  const T* b;
  Index b_step;
  T* c;
  Index c_step;
  bool adds;
};

/// The rows from `row` on, and a few registers of columns from `column` on, of which the last has `last`
/// lanes.
template <int Rows, int Registers, bool Full, class T>
[[gnu::flatten, gnu::noinline]] void tile(const Small<T>& of, Index row, Index column, Index last) {
  Batch<T> sums[Rows][Registers];
  const auto lane_count = [&](int j) { return Full || j + 1 < Registers ? lanes<T> : last; };
  const Index row_step = of.a.row_step, depth_step = of.a.depth_step, b_step = of.b_step, c_step = of.c_step;
  T* const c = of.c + row * c_step + column;
  unrolled<Rows>([&](auto i) { unrolled<Registers>([&](auto j) { sums[i][j] = Batch<T>(T{0}); }); });
  if (of.adds)
    unrolled<Rows>([&](auto i) {
      unrolled<Registers>(
          [&](auto j) { sums[i][j] = load_lanes(c + i * c_step + j * lanes<T>, lane_count(j), T{0}); });
    });
  const T *a = of.a.data + row * row_step, *b = of.b + column;
  for (Index p = 0; p < of.depth; ++p, a += depth_step, b += b_step) {
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

/// The product by tiles of at most Highest rows and Most registers of columns.
template <int Highest, int Most, class T>
void tiles(const Small<T>& of) {
  const Index registers = (of.columns + lanes<T> - 1) / lanes<T>,
              last = of.columns - (registers - 1) * lanes<T>;
  for_low_tiles<Highest>(0, of.rows, [&]<int Rows>(Index row) {
    for (Index at = 0, wide; at < registers; at += wide) {
      wide = std::min<Index>(Most, registers - at);
      // One register alone would have too few sums to hide their latency.
      if (registers - at == Most + 1) wide = (Most + 2) / 2;
      unrolled<Most>([&](auto fewer) {
        if (wide != fewer + 1) return;
        const Index count = at + wide < registers ? lanes<T> : last;  // of the last register
        if constexpr (fewer + 1 == Most)
          if (count == lanes<T>) return tile<Rows, fewer + 1, true>(of, row, at * lanes<T>, count);
        tile<Rows, fewer + 1, false>(of, row, at * lanes<T>, count);
      });
    }
  });
}

template <class T>
void multiply(const Small<T>& of) {
  if (of.columns <= 2 * lanes<T>)  // sums and operands of more rows fit into the registers
    tiles<tile_rows, 2>(of);
  else
    tiles<low_rows, panel_registers>(of);
}

}  // namespace

template <class T>
void small_product(Index rows, Index columns, Index depth, const Operand<T>& a, const T* b, Index b_step,
                   T* c, Index c_step) {
  multiply(Small<T>{rows, columns, depth, a, b, b_step, c, c_step, false});
}
template <class T>
void add_small_product(Index rows, Index columns, Index depth, const Operand<T>& a, const T* b, Index b_step,
                       T* c, Index c_step) {
  multiply(Small<T>{rows, columns, depth, a, b, b_step, c, c_step, true});
}

template void small_product(Index, Index, Index, const Operand<float>&, const float*, Index, float*, Index);
template void small_product(Index, Index, Index, const Operand<double>&, const double*, Index, double*,
                            Index);
template void add_small_product(Index, Index, Index, const Operand<float>&, const float*, Index, float*,
                                Index);
template void add_small_product(Index, Index, Index, const Operand<double>&, const double*, Index, double*,
                                Index);

}  // namespace retort::kernels
