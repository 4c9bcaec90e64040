// Small matrix products on operands in cache, for kernels that consist of several of them. Nothing is copied
// or split among threads.
#pragma once

#include "retort/framework/base/dtype.hpp"

namespace retort::kernels {

/// An operand whose element [row, step] is at data[row · row_step + step · depth_step].
template <class T>
struct Operand {
  const T* data;
  Index row_step, depth_step;
};

/// C [rows, columns] = A · B. A is [rows, depth] with arbitrary strides; B [depth, columns] and C [rows,
/// columns] have contiguous rows with strides b_step and c_step. B is read for each tile of rows, so it
/// should fit into the first-level cache.
template <class T>
void small_product(Index rows, Index columns, Index depth, const Operand<T>& a, const T* b, Index b_step,
                   T* c, Index c_step);

/// C += A · B, as above.
template <class T>
void add_small_product(Index rows, Index columns, Index depth, const Operand<T>& a, const T* b, Index b_step,
                       T* c, Index c_step);

}  // namespace retort::kernels
