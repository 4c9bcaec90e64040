// The binary cross-entropy of logits.
#pragma once

#include <optional>

#include "retort/losses/reduction.hpp"

namespace retort {

struct BCEWithLogitsLossOptions {
  Tensor weight = {};                               ///< of the terms, broadcast to the input; undefined for 1
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;
  Tensor pos_weight = {};  ///< of the positive part, broadcast to the input; undefined for 1

  /// Throws: ValueError for batchmean, TypeError for an int64 weight.
  void check() const;
};

/// The cross-entropy of probabilities t (the target) under logits x (the input):
/// weight·(pos_weight·t·softplus(-x) + (1 - t)·softplus(x)) per element.
///
/// Shapes: input and target of one shape; weight and pos_weight broadcast to it; the result () or, with
/// reduction none, the input's.
/// Edge cases: values are rounded as PyTorch's: accurate in the tail of t = 1, and 0 far out in that of t =
/// 0. The gradients are accurate in both. mean divides by the number of elements, whatever the weights are;
/// the mean of an empty tensor is NaN.
/// Throws: ShapeError if the shapes differ or a weight does not broadcast, TypeError for int64, ValueError
/// for batchmean. Follows torch.nn.functional.binary_cross_entropy_with_logits.
[[nodiscard]] Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target,
                                                      BCEWithLogitsLossOptions options = {});

/// binary_cross_entropy_with_logits with its options fixed.
using BCEWithLogitsLoss = LossOf<binary_cross_entropy_with_logits, BCEWithLogitsLossOptions, Tensor, Tensor>;

}  // namespace retort
