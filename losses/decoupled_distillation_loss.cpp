#include "retort/losses/decoupled_distillation_loss.hpp"

#include <limits>
#include <utility>

#include "retort/framework/base/options.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/decoupled.hpp"
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

void check(const DistillationInputs& inputs) {
  for (const auto& [name, given] : {std::pair<const char*, const Tensor&>("student", inputs.student),
                                    {"teacher", inputs.teacher},
                                    {"labels", inputs.labels}})
    if (!given.defined()) throw ValueError(message("{}: .{} is missing", operation, name));
  detail::require_floating(operation, ".student", inputs.student);
  detail::require_floating(operation, ".teacher", inputs.teacher);
  if (inputs.student.dim() == 0 || inputs.student.shape() != inputs.teacher.shape())
    throw ShapeError(message("{}: .student has shape {} but .teacher {}; both must be (..., C)", operation,
                             inputs.student.shape(), inputs.teacher.shape()));
}

// Splits a row's logits into those of {label, all other classes} and those of the other classes.
std::pair<Tensor, Tensor> split_row(const Tensor& logits, const Tensor& labels, const Tensor& is_label,
                                    double temperature) {
  const Tensor rest = where(is_label, -infinity, logits);
  const Tensor has_rest = not_equal(amax(rest.detach(), -1, true), -infinity);
  const Tensor mass = logsumexp(where(has_rest, rest, 0) / temperature, -1, true) * temperature;
  const Tensor of_label = gather(logits, -1, unsqueeze(labels, -1));
  return {concat({of_label, where(has_rest, mass, -infinity)}, -1), rest};
}

// The inputs of the loss except the logits.
struct Call {
  detail::ClassRows rows;
  Tensor labels;  // 0 in ignored rows
  DecoupledDistillationLossOptions options;

  bool by_row() const { return options.reduction == Reduction::none; }
};

// The reference, in ops.
Tensor definition(const Call& call, const Tensor& student_logits, const Tensor& teacher_logits) {
  const Tensor is_label = one_hot(call.labels, student_logits.size(-1));
  const double temperature = call.options.temperature;
  const auto split = [&](const Tensor& logits) {
    return split_row(detail::counted_logits(logits, call.rows), call.labels, is_label, temperature);
  };
  const auto [student, student_rest] = split(student_logits);
  const auto [teacher, teacher_rest] = split(teacher_logits);
  // A row without other classes has nothing to compare: equal logits have divergence 0.
  const Tensor has_rest = not_equal(amax(maximum(student_rest, teacher_rest).detach(), -1, true), -infinity);
  const Tensor terms =
      divergence(student, teacher, temperature) * call.options.alpha +
      divergence(where(has_rest, student_rest, 0), where(has_rest, teacher_rest, 0), temperature) *
          call.options.beta;
  return detail::reduce_rows(terms, call.rows, call.options.reduction);
}

// The loss computed by the kernel, which has no teacher gradient; undefined if the kernel does not apply.
Tensor fused_loss(const Call& call, const Tensor& student, const Tensor& teacher) {
  const DType dtype = student.dtype();
  double scale = 1;
  if (call.options.reduction == Reduction::batchmean)
    scale = call.rows.divisor == 0 ? 0 : 1 / call.rows.divisor;
  const Tensor terms = empty(detail::row_shape(student.shape(), student.dim() - 1), dtype);
  const Tensor unit = is_grad_enabled() && student.requires_grad() ? empty_like(student) : Tensor();
  bool regular = false;
  compute_into(
      dtype,
      [&]<class T>(T* loss, T* gradient, const T* s, const T* t, const T* weight) {
        regular = kernels::decoupled_distillation_rows<T>({.rows = terms.size(),
                                                           .classes = student.size(-1),
                                                           .temperature = call.options.temperature,
                                                           .alpha = call.options.alpha,
                                                           .beta = call.options.beta,
                                                           .student = s,
                                                           .teacher = t,
                                                           .labels = detail::elements<Index>(call.labels),
                                                           .mask = detail::elements<Index>(call.rows.mask),
                                                           .loss = loss,
                                                           .gradient = gradient,
                                                           .g = weight,
                                                           .scale = scale});
      },
      writable(terms), writable(unit), student, teacher, call.rows.weight);
  if (!regular) return {};
  const Tensor weighted = call.rows.weight.defined() ? terms * call.rows.weight : terms;
  const auto rule = vjp_by_reference(
      [call, teacher](const Tensors& x) { return definition(call, x[0], teacher); }, {student});
  return record({.name = operation,
                 .inputs = {student},
                 .value = call.by_row() ? weighted : sum(weighted) * scale,
                 .vjp = rule,
                 .fast_vjp = [rule, unit, by_row = call.by_row()](const Tensor& g, Needs needs) {
                   // A product with inf or NaN would affect excluded rows.
                   if (!detail::all_finite(g)) return rule(g, needs)[0];
                   if (by_row) return unit * unsqueeze(g, -1);
                   return g.item<double>() == 1 ? unit : unit * g.item<double>();
                 }});
}

}  // namespace

void DecoupledDistillationLossOptions::check() const {
  detail::check_distillation_options(operation, {.temperature = temperature, .reduction = reduction});
  detail::require_at_least_0(operation, "alpha", alpha);
  detail::require_at_least_0(operation, "beta", beta);
}

Tensor decoupled_distillation_loss(const DistillationInputs& inputs,
                                   DecoupledDistillationLossOptions options) {
  options.check();
  check(inputs);
  const DType dtype = promote(inputs.student.dtype(), inputs.teacher.dtype());
  const detail::ClassRows rows = detail::prepare_rows(
      operation, inputs.student.shape(), dtype, inputs.student.dim() - 1, inputs.labels,
      {.mask = inputs.mask, .row_weight = inputs.weight, .names = detail::distillation_names});
  if (rows.counted == 0 && inputs.student.size(-1) == 0)
    return detail::reduce_rows(sum(inputs.student.to(dtype), -1), rows, options.reduction);

  const Call call{rows, detail::counted_terms(rows.labels, rows), options};
  const Tensor student = inputs.student.to(dtype);
  const Tensor teacher = (options.detach_teacher ? inputs.teacher.detach() : inputs.teacher).to(dtype);
  if (!(is_grad_enabled() && teacher.requires_grad()))
    if (const Tensor loss = fused_loss(call, student, teacher.detach()); loss.defined()) return loss;
  return definition(call, student, teacher);
}

}  // namespace retort
