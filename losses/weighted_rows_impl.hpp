// Losses of rows that a mask and weights reduce.
#pragma once

#include "retort/framework/core/tensor.hpp"
#include "retort/losses/rows_impl.hpp"

namespace retort::detail {

/// The losses `terms` of all rows, each times its weight and exactly 0 where the mask leaves the row out,
/// reduced: batchmean divides their sum by the sum of the weights of the rows that count, and is 0 if that is
/// 0.
[[nodiscard]] Tensor reduce_rows(const Tensor& terms, const ClassRows& rows, Reduction reduction);

/// `x` [..., C] with rows that do not count replaced by zeros, since they may hold anything.
[[nodiscard]] Tensor counted_logits(const Tensor& x, const ClassRows& rows);

}  // namespace retort::detail
