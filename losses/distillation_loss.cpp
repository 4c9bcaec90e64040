#include "retort/losses/distillation_loss.hpp"

#include <array>
#include <cmath>

#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/error.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/distillation.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"
#include "retort/losses/cross_entropy_loss.hpp"
#include "retort/losses/kl_div_loss.hpp"

namespace retort {
namespace {

constexpr const char* operation = "distillation_loss";

void check_options(const DistillationLossOptions& options) {
  if (!(options.temperature > 0) || std::isinf(options.temperature))
    throw ValueError(message(operation, ": temperature is ", options.temperature, "; it must be a positive number"));
  if (!(options.alpha >= 0 && options.alpha <= 1))
    throw ValueError(message(operation, ": alpha is ", options.alpha, "; it must be between 0 and 1"));
  if (options.reduction == Reduction::mean)
    throw ValueError(message(operation, ": reduction mean would divide by the classes too; use batchmean"));
}

// Rows of int64 that stand beside the logits.
void check_rows(const char* what, const Tensor& rows, const Tensor& student) {
  detail::require_int64(operation, what, rows);
  Shape expected = student.shape();
  expected.pop_back();
  if (rows.shape() != expected)
    throw ShapeError(message(operation, ": student has shape ", student.shape(), " but ", what, " ", rows.shape(),
                             "; it must have shape ", expected));
}

// Checks all but the options; returns how many rows the mask leaves.
std::int64_t check_inputs(const DistillationInputs& inputs, const DistillationLossOptions& options) {
  const Tensor& student = inputs.student;
  if (!student.defined()) throw ValueError(message(operation, ": .student is missing; give its logits"));
  detail::require_floating(operation, student);
  if (student.dim() == 0)
    throw ShapeError(message(operation, ": student has shape (); logits have shape (N, C)"));
  if (options.alpha > 0 || inputs.teacher.defined()) {
    if (!inputs.teacher.defined())
      throw ValueError(message(operation, ": .teacher is missing but alpha is ", options.alpha, "; give its logits"));
    detail::require_floating(operation, inputs.teacher);
    if (inputs.teacher.shape() != student.shape())
      throw ShapeError(message(operation, ": student has shape ", student.shape(), " but teacher has shape ",
                               inputs.teacher.shape(), "; they must be equal"));
  }
  const std::int64_t classes = student.size(-1);
  std::int64_t rows = classes == 0 ? 0 : student.size() / classes;
  const auto counts = [&](std::size_t i) { return !inputs.mask.defined() || inputs.mask.data<std::int64_t>()[i] != 0; };
  if (inputs.mask.defined()) {
    check_rows("mask", inputs.mask, student);
    const auto mask = inputs.mask.data<std::int64_t>();
    rows = 0;
    for (std::size_t i = 0; i < mask.size(); ++i) {
      if (mask[i] != 0 && mask[i] != 1)
        throw ValueError(message(operation, ": mask is ", mask[i], " at position ", i, "; it must be 0 or 1"));
      rows += mask[i];
    }
  }
  if (options.alpha < 1) {
    if (!inputs.labels.defined())
      throw ValueError(message(operation, ": .labels is missing but alpha is ", options.alpha,
                               "; give the classes, or set alpha to 1"));
  }
  if (inputs.labels.defined()) {
    check_rows("labels", inputs.labels, student);
    const auto labels = inputs.labels.data<std::int64_t>();
    if (options.alpha < 1)
      for (std::size_t i = 0; i < labels.size(); ++i)
        if (counts(i) && (labels[i] < 0 || labels[i] >= classes))
          throw IndexError(message(operation, ": label ", labels[i], " at position ", i, " is no class; the logits have ",
                                   classes, " classes, numbered from 0"));
  }
  return rows;
}

// The definition, in ops: what the kernel computes, and the way to higher derivatives.
Tensor reference(const Tensor& student, const Tensor& teacher, const DistillationInputs& inputs,
                 const DistillationLossOptions& options, double scale) {
  const double T = options.temperature;
  const std::int64_t classes = student.size(-1);
  const Tensor s = reshape(student, {classes == 0 ? 0 : student.size() / classes, classes});
  Shape rows = student.shape();
  rows.pop_back();
  Tensor terms;
  if (options.alpha > 0) {
    const Tensor t = reshape(teacher, s.shape());
    const Tensor divergence = sum(kl_div(log_softmax(s / T, 1), softmax(t / T, 1), {.reduction = Reduction::none}), 1);
    terms = divergence * (options.alpha * T * T);
  }
  if (options.alpha < 1) {
    // A row that the mask leaves out may have any label.
    Tensor labels = reshape(inputs.labels, {s.size(0)});
    if (inputs.mask.defined()) labels = where(reshape(inputs.mask, {s.size(0)}), labels, 0);
    const Tensor entropy = cross_entropy(s, labels, {.ignore_index = -1, .reduction = Reduction::none});
    terms = terms.defined() ? terms + entropy * (1 - options.alpha) : entropy * (1 - options.alpha);
  }
  if (inputs.mask.defined()) terms = where(reshape(inputs.mask, {s.size(0)}), terms, 0);
  return options.reduction == Reduction::none ? reshape(terms, rows) : sum(terms) * scale;
}

// The gradient of one input from what the visit left: the gradient for g = 1, computed with the loss.
Tensor scaled_gradient(const Tensor& unit, const Tensor& g, const Shape& rows) {
  if (g.size() == 1 && unit.dim() > 0 && g.shape() != rows)
    return g.item<double>() == 1 ? unit : unit * g.item<double>();
  return unit * unsqueeze(g, -1);
}

}  // namespace

DistillationLoss::DistillationLoss(DistillationLossOptions options) : options_(options) { check_options(options); }

Tensor distillation_loss(const DistillationInputs& inputs, DistillationLossOptions options) {
  check_options(options);
  const std::int64_t counted = check_inputs(inputs, options);
  const double scale = options.reduction == Reduction::batchmean && counted > 0 ? 1.0 / static_cast<double>(counted) : 1;
  const bool has_teacher = options.alpha > 0;
  DType dtype = inputs.student.dtype();
  if (has_teacher) dtype = promote(dtype, inputs.teacher.dtype());
  const Tensor student = inputs.student.to(dtype);
  Tensor teacher;
  if (has_teacher) teacher = (options.detach_teacher ? inputs.teacher.detach() : inputs.teacher).to(dtype);

  const bool recording = is_grad_enabled();
  const bool wants_student = recording && student.requires_grad();
  const bool wants_teacher = recording && teacher.defined() && teacher.requires_grad();
  Shape rows = student.shape();
  rows.pop_back();
  Array losses(rows, dtype);
  const Tensor student_unit = wants_student ? empty_like(student) : Tensor();
  const Tensor teacher_unit = wants_teacher ? empty_like(teacher) : Tensor();
  visit_floating(dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto out = [](const Tensor& x) { return x.defined() ? x.mutable_array().template fill<T>().data() : nullptr; };
    const auto integers = [](const Tensor& x) { return x.defined() ? x.data<std::int64_t>().data() : nullptr; };
    kernels::distillation_rows<T>({.rows = losses.size(),
                                   .classes = student.size(-1),
                                   .temperature = options.temperature,
                                   .alpha = options.alpha,
                                   .student = student.data<T>().data(),
                                   .teacher = has_teacher ? teacher.data<T>().data() : nullptr,
                                   .labels = options.alpha < 1 ? integers(inputs.labels) : nullptr,
                                   .mask = integers(inputs.mask),
                                   .loss = losses.fill<T>().data(),
                                   .student_gradient = out(student_unit),
                                   .teacher_gradient = out(teacher_unit),
                                   .scale = scale});
  });
  const Tensor terms(std::move(losses));
  const Tensor value = options.reduction == Reduction::none ? terms : sum(terms) * scale;
  if (!wants_student && !wants_teacher) return value;

  // A closure of its own for the twin, since it needs everything.
  auto twin = [inputs, options, scale, student, teacher](const Tensors& given) {
    return reference(given[0], given[1], inputs, options, scale);
  };
  return record({.name = operation,
                 .inputs = {student, teacher},
                 .value = value,
                 .vjp = vjp_by_reference(std::move(twin), {student, teacher}),
                 .fast_vjp = [student_unit, teacher_unit, rows](const Tensor& g, Needs needs) {
                   return std::array<Tensor, 2>{needs[0] ? scaled_gradient(student_unit, g, rows) : Tensor(),
                                                needs[1] ? scaled_gradient(teacher_unit, g, rows) : Tensor()};
                 }});
}

}  // namespace retort
