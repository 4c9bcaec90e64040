// Distillation by correlation instead of divergence, and mixtures of teachers.
#pragma once

#include <vector>

#include "retort/losses/reduction.hpp"

namespace retort {

struct DISTLossOptions {
  double beta = 1;             ///< weight of the rows' correlations
  double gamma = 1;            ///< weight of the classes' correlations
  double temperature = 1;      ///< T > 0: both distributions are softened by it
  bool detach_teacher = true;  ///< no gradient for the teacher's logits

  /// Throws: ValueError for an option out of range.
  void check() const;
};

/// DIST: T²·(beta·mean over rows of (1 - ρ(q_i, p_i)) + gamma·mean over classes of (1 - ρ(q_c, p_c))) for the
/// probabilities p = softmax(teacher/T) and q = softmax(student/T), with Pearson's ρ = Σ x̂ŷ / (‖x̂‖‖ŷ‖ +
/// 1e-8) of the centred x̂ and ŷ.
///
/// Shapes: logits [..., C]; the result ().
/// Edge cases: an entry that is -inf in both logits takes no part in any sum, and a row or class of such
/// entries alone takes no part in the means. A constant row or class has ρ = 0. The loss of an empty batch is
/// NaN.
/// Throws: ValueError for T <= 0 and weights that are not finite; ShapeError if the shapes differ;
/// TypeError for int64.
/// Huang et al., "Knowledge distillation from a stronger teacher" (2022).
[[nodiscard]] Tensor dist_loss(const Tensor& student, const Tensor& teacher, DISTLossOptions options = {});

/// dist_loss with its options fixed.
using DISTLoss = LossOf<dist_loss, DISTLossOptions, Tensor, Tensor>;

/// Logits of a mixture of teachers at temperature T: T·log Σ_k w_k·softmax(t_k/T). Their softmax at that
/// temperature is the weighted mean of the teachers' answers. The weights are used as given, not normalised.
///
/// Shapes: logits [..., C], all equal; the result has the same shape.
/// Edge cases: a teacher of weight 0 has no influence, whatever it holds. A class that is -inf for every
/// teacher is -inf, with zero gradient.
/// Throws: ValueError for no teacher, another number of weights, a weight that is negative or not finite, no
/// positive weight, or T <= 0; ShapeError if the shapes differ; TypeError for int64.
[[nodiscard]] Tensor mix_teachers(const Tensors& logits, const std::vector<double>& weights,
                                  double temperature);

}  // namespace retort
