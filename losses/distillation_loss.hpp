// The distillation loss: soft teacher targets and true labels, from logits.
#pragma once

#include "retort/framework/base/divergence.hpp"
#include "retort/losses/reduction.hpp"

namespace [[RETORT_EXPORT]] retort {

/// "forward_kl", "reverse_kl", "jensen_shannon", "skew_kl", "skew_reverse_kl", "total_variation" or
/// "logit_mse".
[[nodiscard]] std::string_view name(Divergence divergence);
/// Prints name(divergence).
std::ostream& operator<<(std::ostream& stream, Divergence divergence);
/// The inverse of name().
/// Throws: ValueError if the text is not a name.
[[nodiscard]] Divergence divergence_from_string(std::string_view text);

struct DistillationLossOptions {
  double temperature = 1;  ///< T from 1e-18 to 1e18; softens both distributions
  double alpha = 1;        ///< weight of the teacher, in [0, 1]; the labels have weight 1 - alpha
  Reduction reduction = Reduction::batchmean;      ///< batchmean, sum or none
  bool detach_teacher = true;                      ///< no gradient for the teacher's logits
  Divergence divergence = Divergence::forward_kl;  ///< comparison of the two distributions
  double beta = 0.5;  ///< mixture weight: in (0, 1) for jensen_shannon, in [0, 1) for the skewed divergences
  /// Standardise the logits of each row to mean 0 and standard deviation 1 for the divergence.
  bool standardize = false;

  /// Throws: ValueError if an option is out of range or the reduction is mean.
  void check() const;
};

/// Inputs of distillation_loss(), by name, so that student and teacher cannot be swapped by mistake.
struct DistillationInputs {
  Tensor student = {};  ///< logits [..., C]
  Tensor teacher = {};  ///< logits [..., C]; may be omitted if alpha is 0
  Tensor labels = {};   ///< classes, int64 [...]; may be omitted if alpha is 1
  Tensor mask = {};     ///< int64 [...]: 1 to include a row, 0 to exclude it; all rows if omitted
  Tensor weight = {};   ///< factors of the row losses [...]; 1 if omitted
};

/// Computes alpha·c·D + (1 - alpha)·cross_entropy(s, label) per row, for logits s of the student and t of the
/// teacher. D is the divergence between softmax(t/T) and softmax(s/T), by default D_KL(softmax(t/T) ‖
/// softmax(s/T)). The factor c = T² keeps the size of the gradient as T grows; total_variation and logit_mse
/// have c = 1. With `standardize`, D is computed from (x - mean(x)) / (std(x) + 1e-7) of each row of s and t,
/// where std divides by C - 1. Loss and gradients take two or three passes over each row.
///
/// Shapes: student and teacher [..., C], labels, mask and weight [...]; the result is () or, with reduction
/// none, [...].
/// Edge cases: batchmean divides by the sum of the weights of the included rows; if it is 0, the loss and all
/// gradients are 0. Weights may be negative. A row excluded by the mask may contain anything; its loss and
/// gradients are exactly 0. A class that is -inf in both logits is excluded, also from the mean of logit_mse
/// and the statistics of standardize; a class that is -inf in one of them has probability 0 there. NaN, or
/// +inf in an included row, gives NaN. weight has no gradient. Gradients are 0 where the derivative is
/// discontinuous (p = q in total_variation). With standardize, gradients grow as std falls: those of a row of
/// equal logits are multiplied by 1e7.
/// Throws: ValueError if T, alpha or beta is out of range, labels or teacher are missing, the reduction is
/// mean (use batchmean), or the mask is not 0 or 1; ShapeError; TypeError; IndexError if a label of an
/// included row is outside [0, C), unless alpha is 1.
/// Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015); standardized
/// logits: Sun et al., "Logit standardization in knowledge distillation" (2024).
[[nodiscard]] Tensor distillation_loss(const DistillationInputs& inputs,
                                       DistillationLossOptions options = {});

/// distillation_loss with fixed options.
using DistillationLoss = LossOf<distillation_loss, DistillationLossOptions, DistillationInputs>;

}  // namespace retort
