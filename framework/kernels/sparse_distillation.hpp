// Distillation loss from a teacher with only some classes stored, in one pass per row. Explicitly
// instantiated for float and double.
#pragma once

#include "retort/framework/base/dtype.hpp"

namespace retort::kernels {

enum class SparseTail { bucket, drop, renormalize };

/// Arguments of sparse_distillation_rows(). Arrays are row-major; pointers marked "or null" are optional.
///   loss_i = alpha·T²·D_i + (1 - alpha)·(-log_softmax(student_i)[label_i])
/// with D_i = Σ p (log p - log softmax(student_i/T)) over the kept classes; for bucket with the tail as an
/// additional class, for renormalize with both distributions restricted to the kept classes.
template <class T>
struct SparseDistillationRows {
  Index rows = 0, classes = 0, kept = 0;
  double temperature = 1;
  double alpha = 1;
  SparseTail tail = SparseTail::bucket;
  const T* student = nullptr;      ///< [rows, classes]
  const Index* indices = nullptr;  ///< [rows, kept], ascending in each row
  const T* log_probs = nullptr;    ///< [rows, kept], in the order of `indices`
  const T* log_tail = nullptr;     ///< [rows]
  const Index* labels = nullptr;   ///< [rows]; null if alpha is 1
  const Index* mask = nullptr;     ///< [rows] of 0 and 1, or null; rows with 0 have loss 0 and gradient 0
  T* loss = nullptr;               ///< [rows] or null
  T* gradient = nullptr;           ///< [rows, classes] or null; may be the student's array
  const T* g = nullptr;            ///< factors of the rows' gradients [rows], or null for 1
  double scale = 1;                ///< factor of all gradients
};

template <class T>
void sparse_distillation_rows(const SparseDistillationRows<T>& call);

}  // namespace retort::kernels
