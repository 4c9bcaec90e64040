// Cross-entropy of logits.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/losses/reduction.hpp"

namespace [[RETORT_EXPORT]] retort {

struct CrossEntropyLossOptions {
  Tensor weight = {};                               ///< per class [C]; 1 if undefined
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::int64_t ignore_index = -100;                 ///< rows with this target class are ignored
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;            ///< none, sum or mean
  double label_smoothing = 0;  ///< share of the target spread evenly over all classes, in [0, 1]

  /// Throws: ValueError if an option is out of range or the reduction is batchmean; TypeError if a weight is
  /// int64.
  void check() const;
};

/// Cross-entropy of logits x with targets p: -Σ_c w[c]·p[c]·log_softmax(x)[c] per row. A target is a class (p
/// is one-hot) or a probability per class. Label smoothing s replaces p by (1 - s)·p + s/C.
///
/// Shapes: input [N, C, d…] or [C]; target int64 [N, d…] or (), or probabilities of the input's shape; the
/// result is () or, with reduction none, [N, d…].
/// Edge cases: a row whose target is ignore_index may contain anything; its term and gradients are exactly 0.
/// mean divides by the sum of the weights of the target classes, or for probabilities by the number of rows;
/// if that is 0, the result is NaN. As in PyTorch, weights and their sum may be negative. A non-target class
/// with logit -inf contributes 0.
/// Throws: ShapeError if shapes do not fit; TypeError if the input is int64; IndexError if a class is outside
/// [0, C); ValueError if the reduction is batchmean, label_smoothing is outside [0, 1], or ignore_index is
/// given together with probabilities.
/// Source: torch.nn.functional.cross_entropy.
[[nodiscard]] Tensor cross_entropy(const Tensor& input, const Tensor& target,
                                   CrossEntropyLossOptions options = {});

/// cross_entropy with fixed options.
using CrossEntropyLoss = LossOf<cross_entropy, CrossEntropyLossOptions, Tensor, Tensor>;

}  // namespace retort
