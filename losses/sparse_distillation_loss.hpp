// Distillation from a teacher of whose answer only the most probable classes are stored.
#pragma once

#include <cstdint>

#include "retort/losses/reduction.hpp"

namespace retort {

/// A teacher's answers softmax(t/T), of which the K most probable classes per row are kept.
struct SparseTeacher {
  Tensor indices = {};    ///< classes, int64 [..., K], the most probable first
  Tensor log_probs = {};  ///< logarithms of their probabilities [..., K]
  Tensor log_tail = {};   ///< logarithm of the probability of all other classes [...]; -inf if there is none
  std::int64_t classes = 0;  ///< C
  double temperature = 1;    ///< T
};

/// The k most probable classes of softmax(logits/T), the lower class first where probabilities are equal,
/// and the logarithm of the probability that is left. The result has no history.
///
/// Shapes: logits [..., C]; indices and log_probs [..., k], log_tail [...].
/// Throws: ValueError for k outside [1, C] or T <= 0; ShapeError for shape (); TypeError for int64.
[[nodiscard]] SparseTeacher sparse_teacher(const Tensor& logits, std::int64_t k, double temperature);

/// Logits [..., C] whose softmax(t/T) is the teacher's distribution, with the probability that is left spread
/// evenly over the classes that are not kept: for losses that take dense logits, such as distillation_loss
/// with any divergence. They are T times the logarithms of the probabilities.
/// Throws: ShapeError for tensors that do not fit together, IndexError for a class out of range, ValueError
/// for one that occurs twice in a row and for a log-probability of NaN.
[[nodiscard]] Tensor dense_logits(const SparseTeacher& teacher);

/// How the classes that a sparse teacher does not hold enter the loss.
enum class Tail {
  bucket,       ///< together, as one more class of both distributions
  drop,         ///< not at all: the sum is over the kept classes, and may be negative
  renormalize,  ///< not at all: both distributions are restricted to the kept classes
};

struct SparseDistillationLossOptions {
  double alpha = 1;  ///< weight of the teacher, in [0, 1]; the labels have 1 - alpha
  Tail tail = Tail::bucket;
  Reduction reduction = Reduction::batchmean;  ///< batchmean, sum or none

  /// Throws: ValueError for an option out of range and for reduction mean.
  void check() const;
};

/// Named, so that student and teacher cannot be swapped by mistake.
struct SparseDistillationInputs {
  Tensor student = {};         ///< logits [..., C]
  SparseTeacher teacher = {};  ///< of C classes and the same rows; its temperature is the loss's
  Tensor labels = {};          ///< classes, int64 [...]; may be left out if alpha is 1
  Tensor mask = {};            ///< int64 0 or 1 [...]: rows that count; all if left out
  Tensor weight = {};          ///< of each row, float [...]; 1 if left out
};

/// The loss of a row: alpha·T²·D + (1 - alpha)·cross_entropy(s, label), where D is the divergence Σ p (log p
/// - log q) of q = softmax(s/T) from the teacher p over the kept classes. The options' `tail` says what
/// becomes of the others. With Tail::bucket the loss never exceeds that of the dense teacher, and is equal
/// to it for K = C.
///
/// Shapes: student [..., C], labels, mask and weight [...]; the result () or, with reduction none, [...].
/// Edge cases: as in distillation_loss. A class of probability 0 (log -inf) contributes 0. The teacher has
/// no gradient.
/// Throws: ValueError for alpha outside [0, 1], missing inputs, or reduction mean, and for a row that counts
/// in which the teacher has a class twice or a log-probability or tail of NaN; ShapeError; TypeError;
/// IndexError for a class of the teacher or a label outside [0, C).
[[nodiscard]] Tensor sparse_distillation_loss(const SparseDistillationInputs& inputs,
                                              SparseDistillationLossOptions options = {});

/// sparse_distillation_loss with its options fixed.
using SparseDistillationLoss =
    LossOf<sparse_distillation_loss, SparseDistillationLossOptions, SparseDistillationInputs>;

}  // namespace retort
