// The student's last linear layer and the distillation loss in one, for vocabularies so large that the
// logits should never exist as a whole.
#pragma once

#include "retort/losses/distillation_loss.hpp"
#include "retort/losses/sparse_distillation_loss.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Inputs of linear_distillation_loss(), by name.
struct LinearDistillationInputs {
  Tensor hidden = {};          ///< the student's last hidden state [..., F]
  Tensor weight = {};          ///< of the student's last layer [C, F]
  Tensor bias = {};            ///< of the student's last layer [C]; may be left out
  Tensor teacher_logits = {};  ///< [..., C]; or instead of them the three that follow, or teacher_sparse
  Tensor teacher_hidden = {};  ///< the teacher's last hidden state [..., G]
  Tensor teacher_weight = {};  ///< of the teacher's last layer [C, G]
  Tensor teacher_bias = {};    ///< of the teacher's last layer [C]; may be left out
  Tensor labels = {};          ///< classes, int64 [...]; may be left out if alpha is 1
  Tensor mask = {};            ///< int64 0 or 1 [...]: rows that count; all if left out
  Tensor row_weight = {};      ///< factors of the rows' losses [...]; 1 if left out
  SparseTeacher teacher_sparse = {};  ///< a stored teacher of C classes and the same rows
};

/// distillation_loss of the student logits linear(hidden, weight, bias), by chunks of rows: a chunk's logits
/// and their gradient exist only while the chunk is processed, and the gradients of hidden, weight and bias
/// accumulate. The number of multiplications is that of the two calls; with reduction none, backward
/// computes the chunks a second time. If detach_teacher is false and the teacher requires a gradient, the
/// two calls are made instead. With teacher_sparse it is the sparse_distillation_loss of those logits with
/// Tail::bucket, at the teacher's temperature: the options' temperature is ignored.
///
/// Shapes: as the fields say; the result () or, with reduction none, [...].
/// Edge cases: those of distillation_loss. A row that the mask leaves out has no influence on any gradient.
/// Throws: the errors of linear, distillation_loss and sparse_distillation_loss, and ValueError if the
/// teacher is given twice, is missing although alpha > 0, or is sparse and the options ask for another
/// divergence than forward_kl or for standardized logits.
[[nodiscard]] Tensor linear_distillation_loss(const LinearDistillationInputs& inputs,
                                              DistillationLossOptions options = {});

}  // namespace retort
