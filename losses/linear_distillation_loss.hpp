// The student's last linear layer and the distillation loss in one, for vocabularies so large that the logits should
// never exist as a whole.
#pragma once

#include "retort/framework/core/tensor.hpp"
#include "retort/losses/distillation_loss.hpp"

namespace retort {

struct LinearDistillationInputs {
  Tensor hidden = {};          ///< the student's last hidden state [..., F]
  Tensor weight = {};          ///< of the student's last layer [C, F]
  Tensor bias = {};            ///< [C], or left out
  Tensor teacher_logits = {};  ///< [..., C]; or instead of them
  Tensor teacher_hidden = {};  ///< the teacher's last hidden state [..., G],
  Tensor teacher_weight = {};  ///< the weight of its last layer [C, G],
  Tensor teacher_bias = {};    ///< and its bias [C], or none
  Tensor labels = {};          ///< classes, int64 [...]; may be left out when alpha is 1
  Tensor mask = {};            ///< int64 0 or 1 [...]: rows that count; all when left out
};

/// distillation_loss of the logits linear(hidden, weight, bias), by chunks of rows: a chunk's logits and their gradient
/// live only while it is worked on, and the gradients of hidden, weight and bias are gathered as it goes. Takes as many
/// multiplications as the two calls. With reduction none the chunks are computed a second time in backward.
/// With detach_teacher = false and a teacher that wants a gradient, the two calls are made instead.
/// Errors are those of linear and distillation_loss; ValueError too when the teacher is given twice or not at all.
Tensor linear_distillation_loss(const LinearDistillationInputs& inputs, DistillationLossOptions options = {});

}  // namespace retort
