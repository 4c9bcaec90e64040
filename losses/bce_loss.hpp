// Binary cross-entropy of logits.
#pragma once

#include <optional>

#include "retort/losses/reduction.hpp"

namespace [[RETORT_EXPORT]] retort {

struct BCEWithLogitsLossOptions {
  Tensor weight = {};  ///< factor of each term; broadcasts to the input; 1 if undefined
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;            ///< none, sum or mean
  Tensor pos_weight = {};  ///< factor of the positive part; broadcasts to the input; 1 if undefined

  /// Throws: ValueError if an option is out of range or the reduction is batchmean; TypeError if a weight is
  /// int64.
  void check() const;
};

/// Binary cross-entropy of logits x (the input) with target probabilities t:
/// weight·(pos_weight·t·softplus(-x) + (1 - t)·softplus(x)) per element.
///
/// Shapes: input and target have the same shape; weight and pos_weight broadcast to it; the result is () or,
/// with reduction none, has the input's shape.
/// Edge cases: values are rounded as in PyTorch: for large x they are accurate if t = 1; for large -x they
/// become 0 if t = 0. The gradients are accurate in both tails. mean divides by the number of elements,
/// regardless of the weights; the mean of an empty tensor is NaN.
/// Throws: ShapeError if the shapes differ or a weight does not broadcast; TypeError if an argument is int64;
/// ValueError if the reduction is batchmean.
/// Source: torch.nn.functional.binary_cross_entropy_with_logits.
[[nodiscard]] Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target,
                                                      BCEWithLogitsLossOptions options = {});

/// binary_cross_entropy_with_logits with fixed options.
using BCEWithLogitsLoss = LossOf<binary_cross_entropy_with_logits, BCEWithLogitsLossOptions, Tensor, Tensor>;

}  // namespace retort
