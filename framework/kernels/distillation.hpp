// Distillation losses from logits, in a few passes over each row. Explicitly instantiated for float and
// double.
#pragma once

#include "retort/framework/base/divergence.hpp"
#include "retort/framework/base/dtype.hpp"

namespace retort::kernels {

/// The arguments of one call. Arrays are row-major [rows, classes]; pointers marked "or null" are optional.
///   loss_i = alpha·c·D_i + (1 - alpha)·(-log_softmax(student_i)[label_i])
/// with c = 1 for total_variation and logit_mse, otherwise T². A class that is -inf in both logits is
/// excluded. Labels are not read if alpha = 1, the teacher is not read if alpha = 0. NaN, or +inf in an
/// included row, gives NaN. Without the teacher's gradient, denormal numbers may be flushed to 0.
template <class T>
struct DistillationRows {
  Index rows = 0;
  Index classes = 0;
  double temperature = 1;
  double alpha = 1;
  Divergence divergence = Divergence::forward_kl;
  double beta = 0.5;
  bool standardize = false;  ///< compute the divergence from (x - mean) / (std + 1e-7) of each row of logits
  const T* student = nullptr;
  const T* teacher = nullptr;
  const Index* labels = nullptr;  ///< [rows] or null
  const Index* mask = nullptr;    ///< [rows] of 0 and 1, or null; rows with 0 have loss 0 and gradient 0
  T* loss = nullptr;              ///< [rows] or null
  /// Gradients of sum_i g_i·loss_i, or null. One call may compute the loss and both gradients. The student's
  /// gradient may overwrite the student if the teacher's is null.
  T* student_gradient = nullptr;
  T* teacher_gradient = nullptr;
  const T* g = nullptr;  ///< [rows], or null for 1 everywhere
  double scale = 1;      ///< a further factor of all gradients
};

template <class T>
void distillation_rows(const DistillationRows<T>& call);

}  // namespace retort::kernels
