// Distillation loss in two parts: the probability of the label's class, and the distribution of the others.
#pragma once

#include "retort/losses/distillation_loss.hpp"

namespace [[RETORT_EXPORT]] retort {

struct DecoupledDistillationLossOptions {
  double temperature = 4;                      ///< T > 0; softens both distributions
  double alpha = 1;                            ///< weight of KL_target; at least 0
  double beta = 8;                             ///< weight of KL_rest; at least 0
  Reduction reduction = Reduction::batchmean;  ///< batchmean, sum or none
  bool detach_teacher = true;                  ///< no gradient for the teacher's logits

  /// Throws: ValueError if an option is out of range or the reduction is mean.
  void check() const;
};

/// Decoupled knowledge distillation: T²·(alpha·KL_target + beta·KL_rest) per row. KL_target compares the
/// teacher's and the student's probabilities of {label, all other classes}; KL_rest compares their
/// renormalised distributions over the other classes. There is no cross-entropy term.
///
/// Shapes: student and teacher [..., C], labels, mask and weight [...]; the result is () or, with reduction
/// none, [...].
/// Edge cases: both terms are 0 if only the label's class is included. Otherwise as in distillation_loss:
/// batchmean divides by the sum of the weights of the included rows; a class that is -inf in both logits is
/// excluded.
/// Throws: ValueError if labels are missing, T <= 0, alpha or beta is negative, or the reduction is mean;
/// ShapeError; TypeError; IndexError if a label of an included row is outside [0, C).
/// Source: Zhao et al., "Decoupled knowledge distillation" (2022).
[[nodiscard]] Tensor decoupled_distillation_loss(const DistillationInputs& inputs,
                                                 DecoupledDistillationLossOptions options = {});

/// decoupled_distillation_loss with fixed options.
using DecoupledDistillationLoss =
    LossOf<decoupled_distillation_loss, DecoupledDistillationLossOptions, DistillationInputs>;

}  // namespace retort
