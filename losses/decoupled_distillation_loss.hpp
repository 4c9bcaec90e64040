// The distillation loss in two parts: how likely the label's class is, and how the other classes compare.
#pragma once

#include "retort/losses/distillation_loss.hpp"

namespace retort {

struct DecoupledDistillationLossOptions {
  double temperature = 4;                      ///< T > 0: both distributions are softened by it
  double alpha = 1;                            ///< weight of the label's class against the rest, at least 0
  double beta = 8;                             ///< weight of the classes other than the label's, at least 0
  Reduction reduction = Reduction::batchmean;  ///< batchmean, sum or none
  bool detach_teacher = true;                  ///< no gradient for the teacher's logits

  /// Throws: ValueError for an option out of range and for reduction mean.
  void check() const;
};

/// Decoupled knowledge distillation: the loss of a row is T²·(alpha·KL_target + beta·KL_rest). KL_target
/// compares the teacher's and the student's probabilities of {label, all other classes}; KL_rest compares
/// their distributions over the other classes alone, renormalised. There is no cross-entropy term.
///
/// Shapes: student and teacher [..., C], labels, mask and weight [...]; the result () or, with reduction
/// none, [...].
/// Edge cases: both terms are 0 if no class but the label's takes part. Otherwise as in distillation_loss:
/// batchmean divides by the sum of the weights of the rows that the mask leaves; a class that is -inf in both
/// logits takes no part.
/// Throws: ValueError for missing labels, T <= 0, a negative alpha or beta, or reduction mean; ShapeError;
/// TypeError; IndexError for a label outside [0, C) in a row that counts. Zhao et al., "Decoupled knowledge
/// distillation" (2022).
[[nodiscard]] Tensor decoupled_distillation_loss(const DistillationInputs& inputs,
                                                 DecoupledDistillationLossOptions options = {});

/// decoupled_distillation_loss with its options fixed.
using DecoupledDistillationLoss =
    LossOf<decoupled_distillation_loss, DecoupledDistillationLossOptions, DistillationInputs>;

}  // namespace retort
