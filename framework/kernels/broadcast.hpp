// How two arrays are walked side by side under NumPy's broadcasting.
#pragma once

#include <array>
#include <cstdint>

namespace retort::kernels {

/// The walk of two row-major operands over a row-major result: dimensions of extent 1 dropped, neighbours
/// that both operands walk alike merged. A stride is in elements and 0 where the operand is repeated; along
/// the last dimension each is 0 or 1. Same shapes give rank 1.
struct Broadcast {
  static constexpr int max_rank = 8;
  int rank = 1;
  std::array<std::int64_t, max_rank> extents{};
  std::array<std::int64_t, max_rank> a_strides{};
  std::array<std::int64_t, max_rank> b_strides{};
  std::int64_t size = 0;  ///< elements of the result
};

/// The walk for operands of extents a [a_rank] and b [b_rank], aligned at their last dimension, and the
/// result y [y_rank] that they broadcast to (at most 8 dimensions). The shapes must fit: the caller has
/// checked.
Broadcast broadcast(const std::int64_t* a, int a_rank, const std::int64_t* b, int b_rank,
                    const std::int64_t* y, int y_rank);

/// Where the rows of the result (runs along its last dimension) find their operands, from row `row` on.
class RowWalk {
 public:
  RowWalk(const Broadcast& plan, std::int64_t row);
  void next();
  std::int64_t a = 0, b = 0;  ///< offsets of the row's first elements

 private:
  const Broadcast& plan_;
  std::array<std::int64_t, Broadcast::max_rank> index_{};
};

/// The walk over two arrays of n elements each.
inline Broadcast same_shape(std::int64_t n) {
  Broadcast plan;
  plan.extents[0] = plan.size = n;
  plan.a_strides[0] = plan.b_strides[0] = 1;
  return plan;
}

}  // namespace retort::kernels
