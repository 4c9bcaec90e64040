// Distillation from a teacher stored as its most probable classes.
#pragma once

#include <cstdint>

#include "retort/losses/reduction.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A teacher's distribution softmax(t/T), restricted to the K most probable classes per row.
struct SparseTeacher {
  Tensor indices = {};       ///< classes, int64 [..., K], in order of decreasing probability
  Tensor log_probs = {};     ///< logarithms of their probabilities [..., K]
  Tensor log_tail = {};      ///< logarithm of the probability of all other classes [...]; -inf if it is 0
  std::int64_t classes = 0;  ///< C
  double temperature = 1;    ///< T
};

/// Returns the k most probable classes of softmax(logits/T), ordered by class if probabilities are equal, and
/// the logarithm of the remaining probability. The result has no history.
///
/// Shapes: logits [..., C]; indices and log_probs [..., k], log_tail [...].
/// Throws: ValueError if k is outside [1, C] or T <= 0; ShapeError if the shape is (); TypeError if the
/// logits are int64.
[[nodiscard]] SparseTeacher sparse_teacher(const Tensor& logits, std::int64_t k, double temperature);

/// Returns logits [..., C] whose softmax(t/T) is the teacher's distribution, with the remaining probability
/// spread evenly over the other classes: for losses of dense logits, such as distillation_loss with any
/// divergence. They are T times the log-probabilities.
/// Throws: ShapeError if the tensors do not fit together; IndexError if a class is out of range; ValueError
/// if .classes is missing.
[[nodiscard]] Tensor dense_logits(const SparseTeacher& teacher);

/// The treatment of the classes that a sparse teacher does not store.
enum class Tail {
  bucket,       ///< combined as one additional class of both distributions
  drop,         ///< ignored: the sum is over the stored classes and may be negative
  renormalize,  ///< ignored: both distributions are renormalised over the stored classes
};

struct SparseDistillationLossOptions {
  double alpha = 1;          ///< weight of the teacher, in [0, 1]; the labels have weight 1 - alpha
  Tail tail = Tail::bucket;  ///< treatment of the classes that are not stored
  Reduction reduction = Reduction::batchmean;  ///< batchmean, sum or none

  /// Throws: ValueError if an option is out of range or the reduction is mean.
  void check() const;
};

/// Inputs of sparse_distillation_loss(), by name, so that student and teacher cannot be swapped by mistake.
struct SparseDistillationInputs {
  Tensor student = {};         ///< logits [..., C]
  SparseTeacher teacher = {};  ///< a teacher of C classes and the same rows; gives the temperature
  Tensor labels = {};          ///< classes, int64 [...]; may be omitted if alpha is 1
  Tensor mask = {};            ///< int64 [...]: 1 to include a row, 0 to exclude it; all rows if omitted
  Tensor weight = {};          ///< factors of the row losses, float [...]; 1 if omitted
};

/// Computes alpha·T²·D + (1 - alpha)·cross_entropy(s, label) per row, where D is the divergence Σ p (log p -
/// log q) of q = softmax(s/T) from the teacher's p over the stored classes. The option `tail` determines the
/// treatment of the others. With Tail::bucket the loss never exceeds that of the dense teacher, and equals it
/// for K = C.
///
/// Shapes: student [..., C], labels, mask and weight [...]; the result is () or, with reduction none, [...].
/// Edge cases: as in distillation_loss. A class of probability 0 (log -inf) contributes 0. The teacher has no
/// gradient.
/// Throws: ValueError if alpha is outside [0, 1], inputs are missing, a row of the teacher has a class twice
/// or +infinity, or the reduction is mean; ShapeError; TypeError; IndexError if a class of the teacher or a
/// label is outside [0, C).
[[nodiscard]] Tensor sparse_distillation_loss(const SparseDistillationInputs& inputs,
                                              SparseDistillationLossOptions options = {});

/// sparse_distillation_loss with fixed options.
using SparseDistillationLoss =
    LossOf<sparse_distillation_loss, SparseDistillationLossOptions, SparseDistillationInputs>;

}  // namespace retort
