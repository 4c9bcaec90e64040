// The distillation loss: a teacher's soft answers and the true labels, from logits.
#pragma once

#include "retort/framework/core/tensor.hpp"
#include "retort/losses/reduction.hpp"

namespace retort {

struct DistillationLossOptions {
  double temperature = 1;  ///< T > 0: both distributions are softened by it
  double alpha = 1;        ///< weight of the teacher, in [0, 1]; the labels have 1 - alpha
  Reduction reduction = Reduction::batchmean;  ///< batchmean, sum or none [N]
  bool detach_teacher = true;                  ///< no gradient for the teacher's logits
};

/// Named, so that student and teacher cannot be swapped unseen.
struct DistillationInputs {
  Tensor student = {};  ///< logits [..., C]
  Tensor teacher = {};  ///< logits [..., C]
  Tensor labels = {};   ///< classes, int64 [...]; may be left out when alpha is 1
  Tensor mask = {};     ///< int64 0 or 1 [...]: rows that count; all when left out
};

/// L_i = alpha·T²·D_KL(softmax(teacher_i/T) ‖ softmax(student_i/T)) + (1 - alpha)·cross_entropy(student_i, labels_i).
/// Classes are the last dimension, all others count as rows; batchmean divides the sum by the number of rows that the
/// mask leaves, and with none left the loss is 0 and so are the gradients. T² keeps the gradient's size as T grows.
/// A class that is -inf in both logits takes no part.
///
/// One visit a row computes the loss and the gradients. ValueError for T <= 0, alpha outside [0, 1], missing labels,
/// reduction mean (use batchmean) or a mask of other than 0 and 1; ShapeError, TypeError, and IndexError for a label
/// out of range. Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015).
Tensor distillation_loss(const DistillationInputs& inputs, DistillationLossOptions options = {});

/// distillation_loss with its options fixed. ValueError for options out of range.
class DistillationLoss {
 public:
  explicit DistillationLoss(DistillationLossOptions options = {});
  explicit DistillationLoss(detail::Defaults) : DistillationLoss() {}
  Tensor operator()(const DistillationInputs& inputs) const { return distillation_loss(inputs, options_); }

 private:
  DistillationLossOptions options_;
};

namespace detail {
/// The checks that distillation_loss and linear_distillation_loss share, in the name of `operation`.
void check_distillation_options(const char* operation, const DistillationLossOptions& options);
/// Checks labels and mask against logits of shape [..., C]; returns how many rows count.
std::int64_t counted_rows(const char* operation, const Shape& logits, const Tensor& labels,
                          const Tensor& mask, double alpha);
/// What the sum over rows is multiplied by.
double row_scale(const DistillationLossOptions& options, std::int64_t counted);
/// logits' shape without the classes.
Shape row_shape(Shape logits);
}  // namespace detail

}  // namespace retort
