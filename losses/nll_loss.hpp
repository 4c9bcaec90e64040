// The negative log-likelihood loss.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/losses/reduction.hpp"

namespace retort {

struct NLLLossOptions {
  Tensor weight = {};                               ///< of each class [C]; undefined for 1
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::int64_t ignore_index = -100;                 ///< rows with this target do not count
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;

  /// Throws: ValueError for an option out of range and for batchmean, TypeError for an int64 weight.
  void check() const;
};

/// The negative log-likelihood of classes y under log-probabilities x: -w[y]·x[y] per row.
///
/// Shapes: input [N, C, d…] or [C]; target int64 [N, d…] or (); the result () or, with reduction none, the
/// target's.
/// Edge cases: a row whose target is ignore_index may hold anything; its term and gradients are exactly 0.
/// mean divides by the sum of the weights of the rows that count; if that is 0, the result is NaN. Weights
/// may be negative, as in PyTorch, and so may their sum.
/// Throws: ShapeError for shapes that do not fit, TypeError for a target that is not int64, IndexError for a
/// target outside [0, C), ValueError for batchmean. Follows torch.nn.functional.nll_loss.
[[nodiscard]] Tensor nll_loss(const Tensor& input, const Tensor& target, NLLLossOptions options = {});

/// nll_loss with its options fixed.
using NLLLoss = LossOf<nll_loss, NLLLossOptions, Tensor, Tensor>;

}  // namespace retort
