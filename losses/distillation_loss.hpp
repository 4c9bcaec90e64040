// The distillation loss: a teacher's soft answers and the true labels, from logits.
#pragma once

#include "retort/losses/reduction.hpp"

namespace retort {

struct DistillationLossOptions {
  double temperature = 1;  ///< T > 0: both distributions are softened by it
  double alpha = 1;        ///< weight of the teacher, in [0, 1]; the labels have 1 - alpha
  Reduction reduction = Reduction::batchmean;  ///< batchmean, sum or none
  bool detach_teacher = true;                  ///< no gradient for the teacher's logits
};

/// Named, so that student and teacher cannot be swapped by mistake.
struct DistillationInputs {
  Tensor student = {};  ///< logits [..., C]
  Tensor teacher = {};  ///< logits [..., C]; may be left out if alpha is 0
  Tensor labels = {};   ///< classes, int64 [...]; may be left out if alpha is 1
  Tensor mask = {};     ///< int64 0 or 1 [...]: rows that count; all if left out
  Tensor weight = {};   ///< of each row, float [...]; 1 if left out
};

/// The loss of a row: alpha·T²·D_KL(softmax(t/T) ‖ softmax(s/T)) + (1 - alpha)·cross_entropy(s, label) for the logits s
/// of the student and t of the teacher. T² keeps the size of the gradient as T grows. Loss and gradients are computed
/// in one visit of each row.
///
/// Shapes: student and teacher [..., C], labels and mask [...]; the result () or, with reduction none, [...].
/// Edge cases: batchmean divides by the number of rows that the mask leaves. A row that it leaves out may hold anything;
/// its loss and gradients are exactly 0, and so is the whole if no row is left. A class that is -inf in both logits
/// takes no part; NaN, or +inf in a row that counts, gives NaN.
/// Throws: ValueError for T <= 0, alpha outside [0, 1], missing labels or teacher, reduction mean (use batchmean) or a
/// mask other than 0 and 1; ShapeError; TypeError; IndexError for a label outside [0, C) in a row that counts.
/// Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015).
[[nodiscard]] Tensor distillation_loss(const DistillationInputs& inputs,
                                       DistillationLossOptions options = {});

/// distillation_loss with its options fixed. Throws: ValueError for options out of range.
class DistillationLoss : public LossOf<distillation_loss, DistillationLossOptions, DistillationInputs> {
 public:
  explicit DistillationLoss(DistillationLossOptions options = {});
  explicit DistillationLoss(std::initializer_list<detail::NoOptions>) : DistillationLoss() {}
};

}  // namespace retort
