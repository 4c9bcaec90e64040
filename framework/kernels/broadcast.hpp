// Simultaneous iteration over several arrays with NumPy's broadcasting.
#pragma once

#include <array>

#include "retort/framework/base/dtype.hpp"
#include "retort/framework/base/shape.hpp"

namespace retort::kernels {

namespace detail {
inline constexpr int max_rank = static_cast<int>(Shape::max_dims);
using Extents = std::array<Index, max_rank>;
/// Computes the extents and strides for iterating `count` operands over `y`; returns the rank.
int plan_walk(const Shape* const* operands, int count, const Shape& y, Extents& extents, Extents* strides);
}  // namespace detail

/// Iteration of N row-major operands over a row-major result. Dimensions of extent 1 are dropped, and
/// adjacent dimensions that are contiguous (or repeated) in all operands are merged. Strides are in elements,
/// and 0 where the operand is repeated; in the last dimension each is 0 or 1. Equal shapes give rank 1.
template <int N>
struct Broadcast {
  int rank = 1;
  detail::Extents extents{};
  std::array<detail::Extents, N> strides{};
  Index size = 0;  ///< elements of the result

  Broadcast() = default;
  /// The caller has checked that the operands' shapes broadcast to y's.
  Broadcast(const std::array<const Shape*, N>& operands, const Shape& y) {
    bool same = true;
    for (const Shape* operand : operands) same = same && *operand == y;
    if (same) {
      *this = same_shape(element_count(y));
      return;
    }
    size = element_count(y);
    rank = detail::plan_walk(operands.data(), N, y, extents, strides.data());
  }
  /// Iteration over arrays of n elements each.
  static Broadcast same_shape(Index n) {
    Broadcast plan;
    plan.extents[0] = plan.size = n;
    for (detail::Extents& of_one : plan.strides) of_one[0] = 1;
    return plan;
  }

  Index row_length() const { return extents[rank - 1]; }
  /// The step of operand k along a row, 0 or 1.
  Index step(int k) const { return strides[k][rank - 1]; }
  /// True if operand k is not repeated in any dimension.
  bool whole(int k) const {
    for (int d = 0; d < rank; ++d)
      if (strides[k][d] == 0) return false;
    return true;
  }
};

/// The offsets of the operands' first elements for the rows of the result (along its last dimension),
/// starting at row `row`.
template <int N>
class RowWalk {
 public:
  RowWalk(const Broadcast<N>& plan, Index row) : plan_(plan) {
    for (int d = plan.rank - 2; d >= 0; --d) {
      index_[d] = row % plan.extents[d];
      row /= plan.extents[d];
      for (int k = 0; k < N; ++k) at[k] += index_[d] * plan.strides[k][d];
    }
  }
  void next() {
    for (int d = plan_.rank - 2; d >= 0; --d) {
      for (int k = 0; k < N; ++k) at[k] += plan_.strides[k][d];
      if (++index_[d] < plan_.extents[d]) return;
      for (int k = 0; k < N; ++k) at[k] -= plan_.strides[k][d] * plan_.extents[d];
      index_[d] = 0;
    }
  }
  std::array<Index, N> at{};

 private:
  const Broadcast<N>& plan_;
  detail::Extents index_{};
};

}  // namespace retort::kernels
