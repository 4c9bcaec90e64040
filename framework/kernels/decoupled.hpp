// Decoupled distillation loss of rows of logits. Explicitly instantiated for float and double.
#pragma once

#include "retort/framework/base/dtype.hpp"

namespace retort::kernels {

/// Arguments of decoupled_distillation_rows(). Arrays are row-major; pointers marked "or null" are optional.
///   loss_i = T²·(alpha·KL(target) + beta·KL(rest))
/// The first is between {label, all other classes}, the second among the other classes, renormalised.
template <class T>
struct DecoupledRows {
  Index rows = 0, classes = 0;
  double temperature = 1, alpha = 1, beta = 1;
  const T* student = nullptr;     ///< [rows, classes]
  const T* teacher = nullptr;     ///< [rows, classes]
  const Index* labels = nullptr;  ///< [rows]
  const Index* mask = nullptr;    ///< [rows] of 0 and 1, or null; rows with 0 have loss 0 and gradient 0
  T* loss = nullptr;              ///< [rows]
  T* gradient = nullptr;          ///< for the student [rows, classes], or null
  const T* g = nullptr;           ///< factors of the rows' gradients [rows], or null for 1
  double scale = 1;               ///< factor of all gradients
};

/// Returns false, with invalid results, if the label or all other classes of a row have probability 0.
template <class T>
bool decoupled_distillation_rows(const DecoupledRows<T>& call);

}  // namespace retort::kernels
