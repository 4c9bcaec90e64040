// Reduction of row losses with masks and weights.
#pragma once

#include "retort/framework/core/tensor.hpp"
#include "retort/losses/rows_impl.hpp"

namespace retort::detail {

/// Reduces the row losses `terms`, each multiplied by its weight and exactly 0 in excluded rows. batchmean
/// divides their sum by the sum of the weights of the included rows, and is 0 if that is 0.
[[nodiscard]] Tensor reduce_rows(const Tensor& terms, const ClassRows& rows, Reduction reduction);

/// `x` [..., C] with excluded rows, which may contain anything, replaced by zeros.
[[nodiscard]] Tensor counted_logits(const Tensor& x, const ClassRows& rows);

}  // namespace retort::detail
