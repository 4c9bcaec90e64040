// The Kullback–Leibler divergence loss.
#pragma once

#include <optional>

#include "retort/losses/reduction.hpp"

namespace [[RETORT_EXPORT]] retort {

struct KLDivLossOptions {
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;            ///< the divergence itself is batchmean; mean warns once
  bool log_target = false;                          ///< the target holds log-probabilities
};

/// The divergence of probabilities t (the target) from log-probabilities x (the input, a model's
/// log_softmax): t·(log t - x) per element, with log_target exp(t)·(t - x). With reduction batchmean, which
/// divides the sum by input.shape[0], it is D_KL(target ‖ input) for distributions over the last dimension.
/// Derivatives of both, to any order: dx = -t and dt = log t + 1 - x; with log_target dx = -exp(t) and dt =
/// exp(t)·(t - x + 1).
///
/// Shapes: input and target of one shape (nothing is broadcast); the result () or, with reduction none, the
/// same.
/// Edge cases: where t = 0 (with log_target -inf), the term and all its derivatives are 0 for any x that is a
/// number, ±inf included, because t·log t tends to 0. If t < 0, or t or x is NaN, the term is NaN.
/// Throws: ShapeError if the shapes differ, TypeError for int64, ValueError for the mean or batchmean of an
/// empty tensor. Follows torch.nn.functional.kl_div; Kullback and Leibler, "On information and sufficiency"
/// (1951).
[[nodiscard]] Tensor kl_div(const Tensor& input, const Tensor& target, KLDivLossOptions options = {});

/// kl_div with its options fixed.
using KLDivLoss = LossOf<kl_div, KLDivLossOptions, Tensor, Tensor>;

}  // namespace retort
