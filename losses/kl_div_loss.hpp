// The Kullback–Leibler divergence loss.
#pragma once

#include <optional>

#include "retort/framework/core/tensor.hpp"
#include "retort/losses/reduction.hpp"

namespace retort {

struct KLDivLossOptions {
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated
  Reduction reduction = Reduction::mean;            ///< the divergence itself is batchmean; mean warns once
  bool log_target = false;                          ///< the target holds log-probabilities
};

/// Σ t·(log t - x) for log-probabilities x (the input: a model's log_softmax) and probabilities t (the target), of one
/// shape; with log_target Σ exp(t)·(t - x). D_KL(target ‖ input) where both are distributions over the last dimension
/// and the reduction is batchmean (sum / input.shape[0]; of a 0-dim input the sum).
///
/// Where t = 0 (log target: -inf) the term and all its derivatives are 0 for any x that is a number, ±inf included, as
/// lim t→0 t·log t = 0. t < 0 or NaN, or x NaN, gives NaN. Derivatives for both, to any order:
/// dx = -t, dt = log t + 1 - x; with log_target dx = -exp(t), dt = exp(t)·(t - x + 1).
///
/// ShapeError when the shapes differ (nothing is broadcast), TypeError for int64, ValueError for the mean or batchmean
/// of no element. Follows torch.nn.functional.kl_div (PyTorch 2); Kullback and Leibler, "On information and
/// sufficiency" (1951).
Tensor kl_div(const Tensor& input, const Tensor& target, KLDivLossOptions options = {});

/// kl_div with its options fixed.
class KLDivLoss {
 public:
  explicit KLDivLoss(KLDivLossOptions options = {}) : options_(options) {}
  explicit KLDivLoss(detail::Defaults) : KLDivLoss() {}
  Tensor operator()(const Tensor& input, const Tensor& target) const {
    return kl_div(input, target, options_);
  }

 private:
  KLDivLossOptions options_;
};

}  // namespace retort
