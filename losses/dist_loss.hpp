// Distillation by correlation instead of divergence, and mixtures of teachers.
#pragma once

#include <vector>

#include "retort/losses/reduction.hpp"

namespace [[RETORT_EXPORT]] retort {

struct DISTLossOptions {
  double beta = 1;             ///< weight of the row correlations
  double gamma = 1;            ///< weight of the class correlations
  double temperature = 1;      ///< T > 0; softens both distributions
  bool detach_teacher = true;  ///< no gradient for the teacher's logits

  /// Throws: ValueError if an option is out of range.
  void check() const;
};

/// DIST: T²·(beta·mean over rows of (1 - ρ(q_i, p_i)) + gamma·mean over classes of (1 - ρ(q_c, p_c))) with p
/// = softmax(teacher/T), q = softmax(student/T), and Pearson's ρ = Σ x̂ŷ / (‖x̂‖‖ŷ‖ + 1e-8) of the centred x̂
/// and ŷ.
///
/// Shapes: logits [..., C]; the result is ().
/// Edge cases: an entry that is -inf in both logits is excluded from all sums, and a row or class with only
/// such entries from the means. A constant row or class has ρ = 0. The loss of an empty batch is NaN.
/// Throws: ValueError if T <= 0 or a weight is not finite; ShapeError if the shapes differ; TypeError if an
/// input is int64.
/// Source: Huang et al., "Knowledge distillation from a stronger teacher" (2022).
[[nodiscard]] Tensor dist_loss(const Tensor& student, const Tensor& teacher, DISTLossOptions options = {});

/// dist_loss with fixed options.
using DISTLoss = LossOf<dist_loss, DISTLossOptions, Tensor, Tensor>;

/// Logits of a mixture of teachers at temperature T: T·log Σ_k w_k·softmax(t_k/T). Their softmax at
/// temperature T is the weighted mean of the teachers' probabilities. The weights are not normalised.
///
/// Shapes: logits [..., C], all equal; the result has the same shape.
/// Edge cases: a teacher with weight 0 has no effect, whatever its values. A class that is -inf for every
/// teacher is -inf, with zero gradient.
/// Throws: ValueError if there is no teacher, the number of weights differs, a weight is negative or not
/// finite, no weight is positive, or T <= 0; ShapeError if the shapes differ; TypeError if an input is int64.
[[nodiscard]] Tensor mix_teachers(const Tensors& logits, const std::vector<double>& weights,
                                  double temperature);

}  // namespace retort
