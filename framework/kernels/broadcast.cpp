#include "retort/framework/kernels/broadcast.hpp"

namespace retort::kernels {

Broadcast broadcast(const std::int64_t* a, int a_rank, const std::int64_t* b, int b_rank,
                    const std::int64_t* y, int y_rank) {
  Broadcast plan;
  plan.size = 1;
  std::array<bool, Broadcast::max_rank> a_walks{}, b_walks{};
  int rank = 0;
  for (int d = 0; d < y_rank; ++d) {
    plan.size *= y[d];
    if (y[d] == 1) continue;
    const int in_a = d - (y_rank - a_rank), in_b = d - (y_rank - b_rank);
    const bool walks_a = in_a >= 0 && a[in_a] != 1, walks_b = in_b >= 0 && b[in_b] != 1;
    if (rank > 0 && a_walks[rank - 1] == walks_a && b_walks[rank - 1] == walks_b) {
      plan.extents[rank - 1] *= y[d];
    } else {
      plan.extents[rank] = y[d];
      a_walks[rank] = walks_a;
      b_walks[rank] = walks_b;
      ++rank;
    }
  }
  if (rank == 0) {
    plan.extents[0] = 1;
    a_walks[0] = b_walks[0] = true;
    rank = 1;
  }
  plan.rank = rank;
  std::int64_t a_stride = 1, b_stride = 1;
  for (int d = rank - 1; d >= 0; --d) {
    plan.a_strides[d] = a_walks[d] ? a_stride : 0;
    plan.b_strides[d] = b_walks[d] ? b_stride : 0;
    if (a_walks[d]) a_stride *= plan.extents[d];
    if (b_walks[d]) b_stride *= plan.extents[d];
  }
  return plan;
}

RowWalk::RowWalk(const Broadcast& plan, std::int64_t row) : plan_(plan) {
  for (int d = plan.rank - 2; d >= 0; --d) {
    index_[d] = row % plan.extents[d];
    row /= plan.extents[d];
    a += index_[d] * plan.a_strides[d];
    b += index_[d] * plan.b_strides[d];
  }
}

void RowWalk::next() {
  for (int d = plan_.rank - 2; d >= 0; --d) {
    a += plan_.a_strides[d];
    b += plan_.b_strides[d];
    if (++index_[d] < plan_.extents[d]) return;
    a -= plan_.a_strides[d] * plan_.extents[d];
    b -= plan_.b_strides[d] * plan_.extents[d];
    index_[d] = 0;
  }
}

}  // namespace retort::kernels
