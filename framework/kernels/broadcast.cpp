#include "retort/framework/kernels/broadcast.hpp"

namespace retort::kernels::detail {

int plan_walk(const Shape* const* operands, int count, const Shape& y, Extents& extents, Extents* strides) {
  const int y_rank = static_cast<int>(y.size());
  // At this stage the stride is 1 wherever the operand is not repeated.
  int rank = 0;
  for (int d = 0; d < y_rank; ++d) {
    if (y[d] == 1) continue;
    bool merges = rank > 0;
    for (int k = 0; k < count; ++k) {
      const Shape& shape = *operands[k];
      const int at = d - (y_rank - static_cast<int>(shape.size()));
      strides[k][rank] = at >= 0 && shape[at] != 1;
      merges = merges && strides[k][rank] == strides[k][rank - 1];
    }
    if (merges)
      extents[rank - 1] *= y[d];
    else
      extents[rank++] = y[d];
  }
  if (rank == 0) {
    extents[0] = rank = 1;
    for (int k = 0; k < count; ++k) strides[k][0] = 1;
  }
  for (int k = 0; k < count; ++k) {
    Index stride = 1;
    for (int d = rank - 1; d >= 0; --d) {
      if (strides[k][d] == 0) continue;
      strides[k][d] = stride;
      stride *= extents[d];
    }
  }
  return rank;
}

}  // namespace retort::kernels::detail
