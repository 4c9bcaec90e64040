// Negative log-likelihood loss.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/losses/reduction.hpp"

namespace [[RETORT_EXPORT]] retort {

struct NLLLossOptions {
  Tensor weight = {};                               ///< per class [C]; 1 if undefined
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::int64_t ignore_index = -100;                 ///< rows with this target are ignored
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;            ///< none, sum or mean

  /// Throws: ValueError if an option is out of range or the reduction is batchmean; TypeError if a weight is
  /// int64.
  void check() const;
};

/// Negative log-likelihood of classes y given log-probabilities x: -w[y]·x[y] per row.
///
/// Shapes: input [N, C, d…] or [C]; target int64 [N, d…] or (); the result is () or, with reduction none, has
/// the target's shape.
/// Edge cases: a row whose target is ignore_index may contain anything; its term and gradients are exactly 0.
/// mean divides by the sum of the weights of the other rows; if that is 0, the result is NaN.
/// Throws: ShapeError if shapes do not fit; TypeError if the input is int64 or the target is not; IndexError
/// if a target is outside [0, C); ValueError if the reduction is batchmean.
/// Source: torch.nn.functional.nll_loss.
[[nodiscard]] Tensor nll_loss(const Tensor& input, const Tensor& target, NLLLossOptions options = {});

/// nll_loss with fixed options.
using NLLLoss = LossOf<nll_loss, NLLLossOptions, Tensor, Tensor>;

}  // namespace retort
