#include "retort/losses/distillation_loss.hpp"

#include <array>
#include <cmath>

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/engine.hpp"
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

// Checks the logits, and all that stands beside them; returns how many rows count.
std::int64_t check_inputs(const DistillationInputs& inputs, const DistillationLossOptions& options) {
  const Tensor& student = inputs.student;
  if (!student.defined()) throw ValueError(message("{}: .student is missing; give its logits", operation));
  detail::require_floating(operation, student);
  if (student.dim() == 0)
    throw ShapeError(message("{}: student has shape (); logits have shape (N, C)", operation));
  if (options.alpha > 0 && !inputs.teacher.defined())
    throw ValueError(
        message("{}: .teacher is missing but alpha is {}; give its logits", operation, options.alpha));
  if (inputs.teacher.defined()) {
    detail::require_floating(operation, inputs.teacher);
    if (inputs.teacher.shape() != student.shape())
      throw ShapeError(message("{}: student has shape {} but teacher has shape {}; they must be equal",
                               operation, student.shape(), inputs.teacher.shape()));
  }
  return detail::counted_rows(operation, student.shape(), inputs.labels, inputs.mask, options.alpha);
}

// The definition, in ops: what the kernel computes, and the way to higher derivatives.
Tensor reference(const Tensor& student, const Tensor& teacher, const DistillationInputs& inputs,
                 const DistillationLossOptions& options, double scale) {
  const double T = options.temperature;
  const std::int64_t classes = student.size(-1);
  const Shape flat{classes == 0 ? 0 : student.size() / classes, classes};
  // A row that the mask leaves out may hold anything, NaN and labels that are no class included.
  const Tensor mask = inputs.mask.defined() ? reshape(inputs.mask, {flat[0]}) : Tensor();
  const auto counting = [&](const Tensor& logits) {
    const Tensor rows = reshape(logits, flat);
    return mask.defined() ? where(unsqueeze(mask, 1), rows, 0) : rows;
  };
  const Tensor s = counting(student);
  Tensor terms;
  if (options.alpha > 0) {
    const Tensor t = counting(teacher);
    const Tensor divergence =
        sum(kl_div(log_softmax(s / T, 1), softmax(t / T, 1), {.reduction = Reduction::none}), 1);
    terms = divergence * (options.alpha * T * T);
  }
  if (options.alpha < 1) {
    Tensor labels = reshape(inputs.labels, {flat[0]});
    if (mask.defined()) labels = where(mask, labels, 0);
    const Tensor entropy = cross_entropy(s, labels, {.ignore_index = -1, .reduction = Reduction::none});
    terms = terms.defined() ? terms + entropy * (1 - options.alpha) : entropy * (1 - options.alpha);
  }
  if (mask.defined()) terms = where(mask, terms, 0);
  return options.reduction == Reduction::none ? reshape(terms, detail::row_shape(student.shape()))
                                              : sum(terms) * scale;
}

// The gradient of one input from what the visit left: the gradient for g = 1, computed with the loss.
Tensor scaled_gradient(const Tensor& unit, const Tensor& g, const Shape& rows) {
  if (g.size() == 1 && unit.dim() > 0 && g.shape() != rows)
    return g.item<double>() == 1 ? unit : unit * g.item<double>();
  return unit * unsqueeze(g, -1);
}

}  // namespace

namespace detail {

void check_distillation_options(const char* caller, const DistillationLossOptions& options) {
  if (!(options.temperature > 0) || std::isinf(options.temperature))
    throw ValueError(
        message("{}: temperature is {}; it must be a positive number", caller, options.temperature));
  if (!(options.alpha >= 0 && options.alpha <= 1))
    throw ValueError(message("{}: alpha is {}; it must be between 0 and 1", caller, options.alpha));
  if (options.reduction == Reduction::mean)
    throw ValueError(message("{}: reduction mean would divide by the classes too; use batchmean", caller));
}

Shape row_shape(Shape logits) {
  logits.pop_back();
  return logits;
}

double row_scale(const DistillationLossOptions& options, std::int64_t counted) {
  return options.reduction == Reduction::batchmean && counted > 0 ? 1.0 / static_cast<double>(counted) : 1;
}

std::int64_t counted_rows(const char* caller, const Shape& logits, const Tensor& labels, const Tensor& mask,
                          double alpha) {
  const Shape rows = row_shape(logits);
  const std::int64_t classes = logits.back();
  for (const auto& [what, given] :
       {std::pair<const char*, const Tensor&>("labels", labels), {"mask", mask}}) {
    if (!given.defined()) continue;
    require_int64(caller, what, given);
    if (given.shape() != rows)
      throw ShapeError(message("{}: the logits have shape {} but {} {}; it must have shape {}", caller,
                               logits, what, given.shape(), rows));
  }
  if (alpha < 1 && !labels.defined())
    throw ValueError(message("{}: .labels is missing but alpha is {}; give the classes, or set alpha to 1",
                             caller, alpha));
  const std::span<const std::int64_t> marks =
      mask.defined() ? mask.data<std::int64_t>() : std::span<const std::int64_t>();
  std::int64_t counted = element_count(rows);
  for (std::size_t i = 0; i < marks.size(); ++i) {
    if (marks[i] != 0 && marks[i] != 1)
      throw ValueError(message("{}: mask is {} at position {}; it must be 0 or 1", caller, marks[i], i));
    counted -= 1 - marks[i];
  }
  if (alpha < 1) {
    const auto values = labels.data<std::int64_t>();
    for (std::size_t i = 0; i < values.size(); ++i)
      if ((values[i] < 0 || values[i] >= classes) && (marks.empty() || marks[i] == 1))
        throw IndexError(
            message("{}: label {} at position {} is no class; the logits have {} classes, numbered from 0",
                    caller, values[i], i, classes));
  }
  return counted;
}

}  // namespace detail

DistillationLoss::DistillationLoss(DistillationLossOptions options) : options_(options) {
  detail::check_distillation_options(operation, options);
}

Tensor distillation_loss(const DistillationInputs& inputs, DistillationLossOptions options) {
  detail::check_distillation_options(operation, options);
  const std::int64_t counted = check_inputs(inputs, options);
  const double scale = detail::row_scale(options, counted);
  const bool has_teacher = options.alpha > 0;
  DType dtype = inputs.student.dtype();
  if (has_teacher) dtype = promote(dtype, inputs.teacher.dtype());
  const Tensor student = inputs.student.to(dtype);
  Tensor teacher;
  if (has_teacher) teacher = (options.detach_teacher ? inputs.teacher.detach() : inputs.teacher).to(dtype);

  const bool recording = is_grad_enabled();
  const bool wants_student = recording && student.requires_grad();
  const bool wants_teacher = recording && teacher.defined() && teacher.requires_grad();
  const Shape rows = detail::row_shape(student.shape());
  Array losses(rows, dtype);
  const Tensor student_unit = wants_student ? empty_like(student) : Tensor();
  const Tensor teacher_unit = wants_teacher ? empty_like(teacher) : Tensor();
  visit_floating(dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto out = [](const Tensor& x) {
      return x.defined() ? x.mutable_array().template fill<T>().data() : nullptr;
    };
    const auto integers = [](const Tensor& x) {
      return x.defined() ? x.data<std::int64_t>().data() : nullptr;
    };
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
