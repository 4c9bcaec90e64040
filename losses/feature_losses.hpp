// Losses between intermediate features of student and teacher. Both arguments receive gradients.
#pragma once

#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Attention transfer: the mean over N, H and W of (a_s - a_t)², where a is an image's map mean_c(x²) divided
/// by its L2 norm.
///
/// Shapes: student [N, C, H, W] and teacher [N, C', H, W], possibly with different numbers of channels; the
/// result is ().
/// Edge cases: a zero map remains 0, with zero gradient. A mean over no elements, such as the loss of an
/// empty batch, is NaN.
/// Throws: ShapeError if N, H or W differ or there are not four dimensions; TypeError if an input is int64.
/// Source: Zagoruyko and Komodakis, "Paying more attention to attention" (2017).
[[nodiscard]] Tensor attention_transfer_loss(const Tensor& student, const Tensor& teacher);

/// Similarity-preserving distillation: Σ (G_s - G_t)² / N², where G = F Fᵀ with each row divided by its L2
/// norm, and each row of F holds the features of one example.
///
/// Shapes: student [N, ...] and teacher [N, ...], possibly with different numbers of features; the result is
/// ().
/// Edge cases: a zero row remains 0. The loss of an empty batch is NaN.
/// Throws: ShapeError if N differs or a tensor has shape (); TypeError if an input is int64.
/// Source: Tung and Mori, "Similarity-preserving knowledge distillation" (2019).
[[nodiscard]] Tensor similarity_preserving_loss(const Tensor& student, const Tensor& teacher);

/// Relational distillation of distances: the smooth L1 loss, averaged over all N² pairs, between the
/// student's and the teacher's matrices of L2 distances, each divided by the mean of its positive entries.
/// The mean is differentiated too.
///
/// Shapes: student [N, D] and teacher [N, D']; the result is ().
/// Edge cases: a matrix without positive entries remains 0. Coinciding rows have zero gradient. The loss of
/// an empty batch is NaN.
/// Throws: ShapeError if N differs or there are not two dimensions; TypeError if an input is int64.
/// Source: Park et al., "Relational knowledge distillation" (2019).
[[nodiscard]] Tensor relational_distance_loss(const Tensor& student, const Tensor& teacher);

/// Relational distillation of angles: the smooth L1 loss, averaged over all N³ triples, between the student's
/// and the teacher's cosines <e_ij, e_ik>, where e_ij is the unit vector from example i to example j. Value
/// and first gradient process one example i at a time and need N·D + N² elements of memory; higher orders
/// keep all triples.
///
/// Shapes: student [N, D] and teacher [N, D']; the result is ().
/// Edge cases: if two examples coincide, e_ij is 0 and has the gradient of their difference. The loss of an
/// empty batch is NaN.
/// Throws: ShapeError if N differs or there are not two dimensions; TypeError if an input is int64.
/// Source: Park et al., "Relational knowledge distillation" (2019).
[[nodiscard]] Tensor relational_angle_loss(const Tensor& student, const Tensor& teacher);

}  // namespace retort
