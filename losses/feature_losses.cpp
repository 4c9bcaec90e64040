#include "retort/losses/feature_losses.hpp"

#include <cmath>

#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/distance.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/matmul.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

// Converts student and teacher to one float type. Checks that both have `dims` dimensions (at least 1 if dims
// is 0) and the same number of rows.
Tensors checked_features(const char* operation, Index dims, const Tensor& student, const Tensor& teacher) {
  for (const auto& [what, given] :
       {std::pair<const char*, const Tensor&>("student", student), {"teacher", teacher}}) {
    detail::require_floating(operation, what, given);
    if (given.dim() == 0 || (dims != 0 && given.dim() != dims))
      throw ShapeError(message("{}: {} has shape {}; expected {}", operation, what, given.shape(),
                               dims == 4   ? "(N, C, H, W)"
                               : dims == 2 ? "(N, D)"
                                           : "(N, ...)"));
  }
  if (student.size(0) != teacher.size(0))
    throw ShapeError(message("{}: student has shape {} but teacher {}; the number of rows must be equal",
                             operation, student.shape(), teacher.shape()));
  const DType dtype = promote(student.dtype(), teacher.dtype());
  return {student.to(dtype), teacher.to(dtype)};
}

// Rows divided by their L2 norm. A zero row remains 0, and its gradient passes unchanged.
Tensor unit_rows(const Tensor& x) {
  const Tensor length = norm(x, 2, {-1}, true);
  return x / where(greater(length, 0), length, 1);
}

Tensor squared(const Tensor& x) { return pow(x, 2); }

// 0.5·d² for |d| < 1, otherwise |d| - 0.5.
Tensor smooth_l1(const Tensor& difference) {
  const Tensor size = abs(difference);
  return where(less(size, 1), squared(difference) * 0.5, size - 0.5);
}

Tensor attention_map(const Tensor& x) {
  return unit_rows(reshape(mean(squared(x), {1}), {x.size(0), x.size(2) * x.size(3)}));
}

Tensor similarities(const Tensor& x) {
  const Tensor rows = x.dim() == 2 ? x : reshape(x, {x.size(0), x.size(0) == 0 ? 0 : x.size() / x.size(0)});
  return unit_rows(matmul(rows, transpose(rows, 0, 1)));
}

Tensor relative_distances(const Tensor& x) {
  const Tensor distances = cdist(x, x);
  const auto count = static_cast<double>(sum(greater(distances, 0)).item<Index>());
  return count == 0 ? distances : distances / (sum(distances) / count);
}

// Cosines of the angles at example i [N, N].
Tensor angles_at(const Tensor& x, Index i) {
  const Tensor directions = unit_rows(x - slice(x, 0, i, i + 1));
  return matmul(directions, transpose(directions, 0, 1));
}

Tensor angle_loss_at(const Tensors& x, Index i) {
  return sum(smooth_l1(angles_at(x[0], i) - angles_at(x[1], i)));
}

}  // namespace

Tensor attention_transfer_loss(const Tensor& student, const Tensor& teacher) {
  const Tensors x = checked_features("attention_transfer_loss", 4, student, teacher);
  if (student.size(2) != teacher.size(2) || student.size(3) != teacher.size(3))
    throw ShapeError(message(
        "attention_transfer_loss: student has shape {} but teacher {}; only the number of channels may "
        "differ",
        student.shape(), teacher.shape()));
  return mean(squared(attention_map(x[0]) - attention_map(x[1])));
}

Tensor similarity_preserving_loss(const Tensor& student, const Tensor& teacher) {
  const Tensors x = checked_features("similarity_preserving_loss", 0, student, teacher);
  return mean(squared(similarities(x[0]) - similarities(x[1])));
}

Tensor relational_distance_loss(const Tensor& student, const Tensor& teacher) {
  const Tensors x = checked_features("relational_distance_loss", 2, student, teacher);
  return mean(smooth_l1(relative_distances(x[0]) - relative_distances(x[1])));
}

Tensor relational_angle_loss(const Tensor& student, const Tensor& teacher) {
  const Tensors inputs = checked_features("relational_angle_loss", 2, student, teacher);
  const Index n = student.size(0);
  const double scale = 1 / std::pow(static_cast<double>(n), 3);
  const auto definition = [n, scale](const Tensors& x) {
    Tensor total = n == 0 ? sum(x[0]) + sum(x[1]) : zeros({}, x[0].dtype());
    for (Index i = 0; i < n; ++i) total = total + angle_loss_at(x, i);
    return total * scale;
  };
  Tensor value;
  {
    const NoGradGuard no_grad;
    value = definition(inputs);
  }
  return record({.name = "relational_angle_loss",
                 .inputs = inputs,
                 .value = value,
                 .vjp = vjp_by_reference(definition, inputs),
                 .fast_vjp = [inputs, n, scale](const Tensor& g, Needs needs) {
                   Tensors gradients(2);
                   for (Index i = 0; i < n; ++i) {
                     const auto rule =
                         vjp_by_reference([i](const Tensors& x) { return angle_loss_at(x, i); }, inputs);
                     const Tensors part = rule(g * scale, needs);
                     for (std::size_t k = 0; k < 2; ++k)
                       if (part[k].defined())
                         gradients[k] = gradients[k].defined() ? gradients[k] + part[k] : part[k];
                   }
                   for (std::size_t k = 0; n == 0 && k < 2; ++k) gradients[k] = zeros_like(inputs[k]);
                   return gradients;
                 }});
}

}  // namespace retort
