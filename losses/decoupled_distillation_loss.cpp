#include "retort/losses/decoupled_distillation_loss.hpp"

#include <limits>
#include <utility>

#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/losses/weighted_rows_impl.hpp"

namespace retort {
namespace {

constexpr const char* operation = "decoupled_distillation_loss";
constexpr double infinity = std::numeric_limits<double>::infinity();

// T²·KL of each row of logits.
Tensor divergence(const Tensor& student, const Tensor& teacher, double temperature) {
  return distillation_loss(
      {.student = student, .teacher = teacher},
      {.temperature = temperature, .reduction = Reduction::none, .detach_teacher = false});
}

void check(const DistillationInputs& inputs, const DecoupledDistillationLossOptions& options) {
  detail::check_distillation_options(operation,
                                     {.temperature = options.temperature, .reduction = options.reduction});
  for (const auto& [name, value] : {std::pair{"alpha", options.alpha}, {"beta", options.beta}})
    if (!(value >= 0) || value == infinity)
      throw ValueError(
          message("{}: {} is {}; it must be a finite number of at least 0", operation, name, value));
  for (const auto& [name, given] : {std::pair<const char*, const Tensor&>("student", inputs.student),
                                    {"teacher", inputs.teacher},
                                    {"labels", inputs.labels}})
    if (!given.defined()) throw ValueError(message("{}: .{} is missing", operation, name));
  detail::require_floating(operation, inputs.student);
  detail::require_floating(operation, inputs.teacher);
  if (inputs.student.dim() == 0 || inputs.student.shape() != inputs.teacher.shape())
    throw ShapeError(message("{}: student has shape {} but teacher {}; both must be (..., C)", operation,
                             inputs.student.shape(), inputs.teacher.shape()));
}

// A row's logits as two choices: those of {label, all other classes} and those among the other classes.
std::pair<Tensor, Tensor> split_row(const Tensor& logits, const Tensor& labels, const Tensor& is_label,
                                    double temperature) {
  const Tensor rest = where(is_label, -infinity, logits);
  const Tensor has_rest = not_equal(amax(rest.detach(), -1, true), -infinity);
  const Tensor mass = logsumexp(where(has_rest, rest, 0) / temperature, -1, true) * temperature;
  const Tensor of_label = gather(logits, -1, unsqueeze(labels, -1));
  return {concat({of_label, where(has_rest, mass, -infinity)}, -1), rest};
}

}  // namespace

Tensor decoupled_distillation_loss(const DistillationInputs& inputs,
                                   DecoupledDistillationLossOptions options) {
  check(inputs, options);
  const DType dtype = promote(inputs.student.dtype(), inputs.teacher.dtype());
  const detail::ClassRows rows =
      detail::prepare_rows(operation, inputs.student.shape(), dtype, inputs.student.dim() - 1, inputs.labels,
                           {.mask = inputs.mask, .row_weight = inputs.weight});
  if (rows.counted == 0 && inputs.student.size(-1) == 0)
    return detail::reduce_rows(sum(inputs.student.to(dtype), -1), rows, options.reduction);

  const Tensor labels = detail::counted_terms(rows.labels, rows);
  const Tensor is_label = one_hot(labels, inputs.student.size(-1));
  const double temperature = options.temperature;
  const auto split = [&](const Tensor& logits) {
    return split_row(detail::counted_logits(logits.to(dtype), rows), labels, is_label, temperature);
  };
  const auto [student, student_rest] = split(inputs.student);
  const auto [teacher, teacher_rest] =
      split(options.detach_teacher ? inputs.teacher.detach() : inputs.teacher);
  // A row without other classes has nothing to compare: equal logits have divergence 0.
  const Tensor has_rest = not_equal(amax(maximum(student_rest, teacher_rest).detach(), -1, true), -infinity);
  const Tensor terms =
      divergence(student, teacher, temperature) * options.alpha +
      divergence(where(has_rest, student_rest, 0), where(has_rest, teacher_rest, 0), temperature) *
          options.beta;
  return detail::reduce_rows(terms, rows, options.reduction);
}

}  // namespace retort
