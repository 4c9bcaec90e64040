// Losses of distances between embeddings.
#pragma once

#include <optional>

#include "retort/losses/reduction.hpp"

namespace retort {

struct CosineEmbeddingLossOptions {
  double margin = 0;                                ///< dissimilar pairs may have a cosine up to this
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;

  /// Throws: ValueError for an option out of range and for batchmean.
  void check() const;
};

/// Per pair of rows, 1 - cos where the target is 1, and max(0, cos - margin) where it is -1, with
/// cos = a·b / √((‖a‖² + 1e-12)·(‖b‖² + 1e-12)).
///
/// Shapes: input1 and input2 [..., D] of one shape; target int64 [...]; the result () or, with reduction
/// none, the target's.
/// Edge cases: a row of zeros has cosine 0.
/// Throws: ShapeError for shapes that do not fit, TypeError for int64 inputs or another type of the target,
/// ValueError for another value in the target and for batchmean.
/// Follows torch.nn.functional.cosine_embedding_loss.
[[nodiscard]] Tensor cosine_embedding_loss(const Tensor& input1, const Tensor& input2, const Tensor& target,
                                           CosineEmbeddingLossOptions options = {});

/// cosine_embedding_loss with its options fixed.
using CosineEmbeddingLoss = LossOf<cosine_embedding_loss, CosineEmbeddingLossOptions, Tensor, Tensor, Tensor>;

struct TripletMarginLossOptions {
  double margin = 1;
  double p = 2;       ///< of the norm
  double eps = 1e-6;  ///< added to each difference
  bool swap =
      false;  ///< take the smaller of the distances from the negative to the anchor and to the positive
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;

  /// Throws: ValueError for an option out of range and for batchmean.
  void check() const;
};

/// max(0, d(anchor, positive) - d(anchor, negative) + margin) per row, with d(a, b) = ‖a - b + eps‖_p.
///
/// Shapes: anchor, positive and negative [..., D] of one shape; the result () or, with reduction none, [...].
/// Throws: ShapeError if the shapes differ, TypeError for int64, ValueError for a margin that is not
/// positive, a NaN p and for batchmean.
/// Balntas, Riba, Ponsa and Mikolajczyk, "Learning local feature descriptors with triplets and shallow
/// convolutional neural networks" (2016); follows torch.nn.functional.triplet_margin_loss.
[[nodiscard]] Tensor triplet_margin_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                                         TripletMarginLossOptions options = {});

/// triplet_margin_loss with its options fixed.
using TripletMarginLoss = LossOf<triplet_margin_loss, TripletMarginLossOptions, Tensor, Tensor, Tensor>;

}  // namespace retort
