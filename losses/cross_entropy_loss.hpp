// The cross-entropy loss, from logits.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/losses/reduction.hpp"

namespace retort {

struct CrossEntropyLossOptions {
  Tensor weight = {};                               ///< of each class [C]; undefined for 1
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::int64_t ignore_index = -100;                 ///< rows with this class as target do not count
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;
  double label_smoothing = 0;  ///< share of a target that is spread evenly over all classes, in [0, 1]

  /// Throws: ValueError for an option out of range and for batchmean, TypeError for an int64 weight.
  void check() const;
};

/// The cross-entropy of targets p under logits x: -Σ_c w[c]·p[c]·log_softmax(x)[c] per row. A target is a
/// class (p is one-hot) or a probability per class; label smoothing s replaces p by (1 - s)·p + s/C.
///
/// Shapes: input [N, C, d…] or [C]; target int64 [N, d…] or (), or probabilities of the input's shape; the
/// result () or, with reduction none, [N, d…].
/// Edge cases: a row whose target is ignore_index may hold anything; its term and gradients are exactly 0.
/// mean divides by the sum of the weights of the classes that count, or for probabilities by the number of
/// rows; if that is 0, the result is NaN. Weights may be negative, as in PyTorch, and so may their sum, the
/// divisor. A class with logit -inf that is not the target costs nothing.
/// Throws: ShapeError for shapes that do not fit, IndexError for a class outside [0, C), ValueError for
/// batchmean, a label_smoothing outside [0, 1], or an ignore_index together with probabilities. Follows
/// torch.nn.functional.cross_entropy.
[[nodiscard]] Tensor cross_entropy(const Tensor& input, const Tensor& target,
                                   CrossEntropyLossOptions options = {});

/// cross_entropy with its options fixed.
using CrossEntropyLoss = LossOf<cross_entropy, CrossEntropyLossOptions, Tensor, Tensor>;

}  // namespace retort
