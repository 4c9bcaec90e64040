// The student's last linear layer combined with the distillation loss, for vocabularies so large that the
// logits should not all be stored at once.
#pragma once

#include "retort/losses/distillation_loss.hpp"
#include "retort/losses/sparse_distillation_loss.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Inputs of linear_distillation_loss(), by name.
struct LinearDistillationInputs {
  Tensor hidden = {};          ///< the student's last hidden state [..., F]
  Tensor weight = {};          ///< of the student's last layer [C, F]
  Tensor bias = {};            ///< of the student's last layer [C]; may be omitted
  Tensor teacher_logits = {};  ///< [..., C]; alternatives: the next three fields, or teacher_sparse
  Tensor teacher_hidden = {};  ///< the teacher's last hidden state [..., G]
  Tensor teacher_weight = {};  ///< of the teacher's last layer [C, G]
  Tensor teacher_bias = {};    ///< of the teacher's last layer [C]; may be omitted
  Tensor labels = {};          ///< classes, int64 [...]; may be omitted if alpha is 1
  Tensor mask = {};            ///< int64 [...]: 1 to include a row, 0 to exclude it; all rows if omitted
  Tensor row_weight = {};      ///< factors of the row losses [...]; 1 if omitted
  SparseTeacher teacher_sparse = {};  ///< a stored teacher of C classes and the same rows
};

/// Computes distillation_loss of the student logits linear(hidden, weight, bias) in chunks of rows: the
/// logits and their gradient exist for one chunk at a time, while the gradients of hidden, weight and bias
/// accumulate. It needs as many multiplications as separate calls of linear and distillation_loss; with
/// reduction none, backward recomputes the chunks. If detach_teacher is false and the teacher requires a
/// gradient, these two are called instead. With teacher_sparse it computes sparse_distillation_loss with
/// Tail::bucket and the teacher's temperature; the temperature in the options is ignored.
///
/// Shapes: as given at the fields; the result is () or, with reduction none, [...].
/// Edge cases: as in distillation_loss. A row excluded by the mask does not affect any gradient.
/// Throws: the errors of linear, distillation_loss and sparse_distillation_loss; ValueError if the teacher is
/// given twice, is missing although alpha > 0, or is sparse and the options request standardized logits or
/// a divergence other than forward_kl.
[[nodiscard]] Tensor linear_distillation_loss(const LinearDistillationInputs& inputs,
                                              DistillationLossOptions options = {});

}  // namespace retort
