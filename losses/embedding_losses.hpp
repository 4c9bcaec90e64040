// Losses of distances between embeddings.
#pragma once

#include <optional>

#include "retort/losses/reduction.hpp"

namespace [[RETORT_EXPORT]] retort {

struct CosineEmbeddingLossOptions {
  double margin = 0;                                ///< cosine of dissimilar pairs up to which the loss is 0
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;            ///< none, sum or mean

  /// Throws: ValueError if an option is out of range or the reduction is batchmean.
  void check() const;
};

/// Per pair of rows, 1 - cos if the target is 1 and max(0, cos - margin) if it is -1, with cos = a·b /
/// √((‖a‖² + 1e-12)·(‖b‖² + 1e-12)).
///
/// Shapes: input1 and input2 [..., D] with the same shape; target int64 [...]; the result is () or, with
/// reduction none, has the target's shape.
/// Edge cases: a row of zeros has cosine 0.
/// Throws: ShapeError if shapes do not fit; TypeError if an input is int64 or the target is not; ValueError
/// if a target is neither 1 nor -1, or the reduction is batchmean.
/// Source: torch.nn.functional.cosine_embedding_loss.
[[nodiscard]] Tensor cosine_embedding_loss(const Tensor& input1, const Tensor& input2, const Tensor& target,
                                           CosineEmbeddingLossOptions options = {});

/// cosine_embedding_loss with fixed options.
using CosineEmbeddingLoss = LossOf<cosine_embedding_loss, CosineEmbeddingLossOptions, Tensor, Tensor, Tensor>;

struct TripletMarginLossOptions {
  double margin = 1;  ///< positive: smallest difference of the distances that gives loss 0
  double p = 2;       ///< exponent of the norm
  double eps = 1e-6;  ///< added to each difference
  bool swap = false;  ///< use the smaller of the negative's distances to the anchor and to the positive
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;            ///< none, sum or mean

  /// Throws: ValueError if an option is out of range or the reduction is batchmean.
  void check() const;
};

/// max(0, d(anchor, positive) - d(anchor, negative) + margin) per row, with d(a, b) = ‖a - b + eps‖_p.
///
/// Shapes: anchor, positive and negative [..., D] with the same shape; the result is () or, with reduction
/// none, [...].
/// Throws: ShapeError if the shapes differ; TypeError if an input is int64; ValueError if the margin is not
/// positive, p is NaN or the reduction is batchmean.
/// Source: Balntas, Riba, Ponsa and Mikolajczyk, "Learning local feature descriptors with triplets and
/// shallow convolutional neural networks" (2016); torch.nn.functional.triplet_margin_loss.
[[nodiscard]] Tensor triplet_margin_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                                         TripletMarginLossOptions options = {});

/// triplet_margin_loss with fixed options.
using TripletMarginLoss = LossOf<triplet_margin_loss, TripletMarginLossOptions, Tensor, Tensor, Tensor>;

}  // namespace retort
