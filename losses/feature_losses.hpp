// Losses between a student's and a teacher's inner features. Both arguments receive a gradient.
#pragma once

#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Attention transfer: the mean over N, H and W of (a_s - a_t)², where a is the map of mean_c(x²) of an
/// image, divided by its L2 norm.
///
/// Shapes: student [N, C, H, W] and teacher [N, C', H, W], whose numbers of channels may differ; the result
/// ().
/// Edge cases: a map of zeros stays 0, with zero gradient. The loss of an empty batch is NaN, as is any mean
/// without elements.
/// Throws: ShapeError if N, H or W differ or there are not four dimensions; TypeError for int64.
/// Zagoruyko and Komodakis, "Paying more attention to attention" (2017).
[[nodiscard]] Tensor attention_transfer_loss(const Tensor& student, const Tensor& teacher);

/// Similarity-preserving distillation: Σ (G_s - G_t)² / N², where G = F Fᵀ with each row divided by its L2
/// norm, and F holds one example's features per row.
///
/// Shapes: student [N, ...] and teacher [N, ...], whose features may differ in number; the result ().
/// Edge cases: a row of zeros stays 0. The loss of an empty batch is NaN.
/// Throws: ShapeError if N differs or a tensor has shape (); TypeError for int64.
/// Tung and Mori, "Similarity-preserving knowledge distillation" (2019).
[[nodiscard]] Tensor similarity_preserving_loss(const Tensor& student, const Tensor& teacher);

/// Relational distillation of distances: the smooth L1 loss, averaged over all N² pairs, between the
/// student's and the teacher's matrices of L2 distances, each divided by the mean of its positive entries.
/// Gradients pass through the mean.
///
/// Shapes: student [N, D] and teacher [N, D']; the result ().
/// Edge cases: a matrix without a positive entry stays 0. Coinciding rows have zero gradient. The loss of an
/// empty batch is NaN.
/// Throws: ShapeError if N differs or there are not two dimensions; TypeError for int64.
/// Park et al., "Relational knowledge distillation" (2019).
[[nodiscard]] Tensor relational_distance_loss(const Tensor& student, const Tensor& teacher);

/// Relational distillation of angles: the smooth L1 loss, averaged over all N³ triples, between the student's
/// and the teacher's cosines <e_ij, e_ik>, where e_ij is the unit vector from example i to example j. Value
/// and first gradient take N·D + N² elements of memory, since they visit one example i at a time; higher
/// orders hold all of them.
///
/// Shapes: student [N, D] and teacher [N, D']; the result ().
/// Edge cases: e_ij is 0 where two examples coincide, and has the gradient of their difference. The loss of
/// an empty batch is NaN.
/// Throws: ShapeError if N differs or there are not two dimensions; TypeError for int64.
/// Park et al., "Relational knowledge distillation" (2019).
[[nodiscard]] Tensor relational_angle_loss(const Tensor& student, const Tensor& teacher);

}  // namespace retort
