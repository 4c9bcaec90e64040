// Kullback–Leibler divergence loss.
#pragma once

#include <optional>

#include "retort/losses/reduction.hpp"

namespace [[RETORT_EXPORT]] retort {

struct KLDivLossOptions {
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;  ///< batchmean gives the divergence itself; mean warns once
  bool log_target = false;                ///< the target contains log-probabilities
};

/// Divergence of target probabilities t from log-probabilities x (the input, the output of log_softmax):
/// t·(log t - x) per element; with log_target exp(t)·(t - x). With reduction batchmean, which divides the sum
/// by input.shape[0], it is D_KL(target ‖ input) for distributions over the last dimension. Both arguments
/// are differentiable to any order: dx = -t and dt = log t + 1 - x; with log_target dx = -exp(t) and dt =
/// exp(t)·(t - x + 1).
///
/// Shapes: input and target have the same shape (no broadcasting); the result is () or, with reduction none,
/// has that shape.
/// Edge cases: where t = 0 (with log_target -inf), the term and all its derivatives are 0 for any x except
/// NaN, including ±inf, because t·log t tends to 0. If t < 0, or t or x is NaN, the term is NaN.
/// Throws: ShapeError if the shapes differ; TypeError if an argument is int64; ValueError for the mean or
/// batchmean of an empty tensor.
/// Source: Kullback and Leibler, "On information and sufficiency" (1951); torch.nn.functional.kl_div.
[[nodiscard]] Tensor kl_div(const Tensor& input, const Tensor& target, KLDivLossOptions options = {});

/// kl_div with fixed options.
using KLDivLoss = LossOf<kl_div, KLDivLossOptions, Tensor, Tensor>;

}  // namespace retort
