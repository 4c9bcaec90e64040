// The distillation loss: a teacher's soft answers and the true labels, from logits.
#pragma once

#include "retort/framework/kernels/distillation.hpp"
#include "retort/losses/reduction.hpp"

namespace retort {

/// "forward_kl", "reverse_kl", "jensen_shannon", "skew_kl", "skew_reverse_kl", "total_variation" or
/// "logit_mse".
[[nodiscard]] std::string_view name(Divergence divergence);
/// The inverse of name(). Throws: ValueError for any other text.
[[nodiscard]] Divergence divergence_from_string(std::string_view text);

struct DistillationLossOptions {
  double temperature = 1;  ///< T > 0: both distributions are softened by it
  double alpha = 1;        ///< weight of the teacher, in [0, 1]; the labels have 1 - alpha
  Reduction reduction = Reduction::batchmean;      ///< batchmean, sum or none
  bool detach_teacher = true;                      ///< no gradient for the teacher's logits
  Divergence divergence = Divergence::forward_kl;  ///< of the student's distribution from the teacher's
  double beta = 0.5;         ///< of jensen_shannon, in (0, 1), and of the skews, in [0, 1)
  bool standardize = false;  ///< the divergence sees logits of mean 0 and standard deviation 1 in each row

  /// Throws: ValueError for an option out of range and for reduction mean.
  void check() const;
};

/// Named, so that student and teacher cannot be swapped by mistake.
struct DistillationInputs {
  Tensor student = {};  ///< logits [..., C]
  Tensor teacher = {};  ///< logits [..., C]; may be left out if alpha is 0
  Tensor labels = {};   ///< classes, int64 [...]; may be left out if alpha is 1
  Tensor mask = {};     ///< int64 0 or 1 [...]: rows that count; all if left out
  Tensor weight = {};   ///< factors of the rows' losses [...]; 1 if left out
};

/// The loss of a row: alpha·c·D + (1 - alpha)·cross_entropy(s, label) for the logits s of the student and t
/// of the teacher, where D is the divergence between softmax(t/T) and softmax(s/T), by default
/// D_KL(softmax(t/T) ‖ softmax(s/T)), and c = T², which keeps the size of the gradient as T grows;
/// total_variation and logit_mse have c = 1. With `standardize`, D sees (x - mean(x)) / (std(x) + 1e-7) of
/// each row of s and t, std with C - 1. Loss and gradients are computed in two or three visits of each row.
///
/// Shapes: student and teacher [..., C], labels, mask and weight [...]; the result () or, with reduction
/// none, [...].
/// Edge cases: batchmean divides by the sum of the weights of the rows that the mask leaves; if it is 0, so
/// are the loss and all gradients. A row that the mask leaves out may hold anything; its loss and gradients
/// are exactly 0. A class that is -inf in both logits takes no part, nor in the mean of logit_mse and the
/// statistics of standardize. One that is -inf in one of them has probability 0 there. NaN, or +inf in a row
/// that counts, gives NaN. weight has no gradient. Gradients are 0 where the derivative jumps (p = q in
/// total_variation).
/// Throws: ValueError for T <= 0, alpha outside [0, 1], beta out of its range, missing labels or teacher,
/// reduction mean (use batchmean) or a mask other than 0 and 1; ShapeError; TypeError; IndexError for a
/// label outside [0, C) in a row that counts. Hinton, Vinyals and Dean, "Distilling the knowledge in a
/// neural network" (2015); standardized logits: Sun et al., "Logit standardization in knowledge
/// distillation" (2024).
[[nodiscard]] Tensor distillation_loss(const DistillationInputs& inputs,
                                       DistillationLossOptions options = {});

/// distillation_loss with its options fixed.
using DistillationLoss = LossOf<distillation_loss, DistillationLossOptions, DistillationInputs>;

}  // namespace retort
