// The distillation loss of Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015),
// from logits in one visit a row. Explicitly instantiated for float and double.
#pragma once

#include <cstdint>

namespace retort::kernels {

/// What one call computes. Arrays are row-major [rows, classes]; pointers marked "or null" may be left out.
///   loss_i = alpha·T²·KL(softmax(teacher_i/T) ‖ softmax(student_i/T))
///            + (1 - alpha)·(-log_softmax(student_i)[label_i])
/// A class that is -inf in both logits takes no part. With alpha = 1 labels are not read, with alpha = 0 the
/// teacher is not. An infinite or NaN logit elsewhere makes what depends on it infinite or NaN. Without the
/// teacher's gradient, numbers too small to be normal count as 0.
template <class T>
struct DistillationRows {
  std::int64_t rows = 0;
  std::int64_t classes = 0;
  double temperature = 1;
  double alpha = 1;
  const T* student = nullptr;
  const T* teacher = nullptr;
  const std::int64_t* labels = nullptr;  ///< [rows] or null
  const std::int64_t* mask = nullptr;    ///< [rows] of 0 and 1, or null: a row of 0 has loss 0 and gradient 0
  T* loss = nullptr;                     ///< [rows] or null
  /// Gradients of sum_i g_i·loss_i, or null. Both may be asked for together with the loss: one visit. The student's may
  /// be written over the student, when the teacher's is not asked for.
  T* student_gradient = nullptr;
  T* teacher_gradient = nullptr;
  const T* g = nullptr;  ///< [rows], or null for 1 everywhere
  double scale = 1;      ///< factor of every gradient, beside g
};

template <class T>
void distillation_rows(const DistillationRows<T>& call);

}  // namespace retort::kernels
