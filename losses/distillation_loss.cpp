#include "retort/losses/distillation_loss.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <ostream>

#include "retort/framework/base/options.hpp"
#include "retort/framework/core/compute.hpp"
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
#include "retort/losses/rows_impl.hpp"

namespace retort {
namespace {

constexpr const char* operation = "distillation_loss";

// The data of one call, shared by both rules.
struct Call {
  Tensor student, teacher;  // logits [..., C] of one float type; the teacher is undefined if alpha is 0
  detail::ClassRows rows;
  DistillationLossOptions options;
  double scale = 1;             // factor of the sum over rows
  std::array<Tensor, 2> units;  // gradients of student and teacher for an upstream gradient of 1

  bool by_row() const { return options.reduction == Reduction::none; }
};

void check_logits(const DistillationInputs& inputs, const DistillationLossOptions& options) {
  const Tensor &student = inputs.student, &teacher = inputs.teacher;
  if (!student.defined()) throw ValueError(message("{}: .student is missing; give its logits", operation));
  detail::require_floating(operation, ".student", student);
  if (student.dim() == 0)
    throw ShapeError(message("{}: .student has shape (); logits have shape (N, C)", operation));
  if (options.alpha > 0 && !teacher.defined())
    throw ValueError(
        message("{}: .teacher is missing but alpha is {}; give its logits", operation, options.alpha));
  if (!teacher.defined()) return;
  detail::require_floating(operation, ".teacher", teacher);
  if (teacher.shape() != student.shape())
    throw ShapeError(message("{}: .student has shape {} but .teacher has shape {}; they must be equal",
                             operation, student.shape(), teacher.shape()));
}

constexpr double infinite = std::numeric_limits<double>::infinity();

// The logits as used with .standardize; a class that is -inf is excluded.
Tensor standardized(const Tensor& logits) {
  const Tensor present = not_equal(logits, -infinite), count = sum(present, -1, true).to(logits.dtype());
  // A row whose squares could overflow is scaled first.
  const bool single = logits.dtype() == DType::float32;
  const Tensor large = sum(mul(present, greater(abs(logits.detach()), single ? 1e15 : 1e150)), -1, true);
  const Tensor unit = where(greater(large, 0), zeros_like(count) + (single ? 0x1p-100 : 0x1p-700), 1);
  const Tensor x = logits * unit;
  const Tensor centred = where(present, x - sum(where(present, x, 0), -1, true) / count, 0);
  const Tensor squares = sum(centred * centred, -1, true), constant = equal(squares, 0);
  const Tensor degrees = where(constant, 1, count - 1);
  const Tensor deviation = where(constant, 0, sqrt(where(constant, 1, squares) / degrees));
  return where(present, centred / (deviation + unit * 1e-7), x);
}

// KL divergence per row of distributions given as log-probabilities; a class of probability 0 contributes 0.
Tensor divergence_of(const Tensor& log_p, const Tensor& log_q) {
  return sum(kl_div(log_q, log_p, {.reduction = Reduction::none, .log_target = true}), -1);
}

// The divergence per row, including the factor c.
Tensor divergence_terms(Tensor s, Tensor t, const DistillationLossOptions& options) {
  const double T = options.temperature, beta = options.beta;
  if (options.standardize) {
    s = standardized(s);
    t = standardized(t);
  }
  const Tensor absent = mul(equal(s, -infinite), equal(t, -infinite));
  if (options.divergence == Divergence::logit_mse) {
    const Tensor count = s.size(-1) - sum(absent, -1);
    return sum(pow(where(absent, 0, s) - where(absent, 0, t), 2), -1) / count;
  }
  if (options.divergence == Divergence::forward_kl)
    return sum(kl_div(log_softmax(s / T, -1), softmax(t / T, -1), {.reduction = Reduction::none}), -1) *
           (T * T);
  if (options.divergence == Divergence::total_variation)
    return sum(abs(softmax(t / T, -1) - softmax(s / T, -1)), -1) / 2;
  const Tensor log_p = log_softmax(t / T, -1), log_q = log_softmax(s / T, -1);
  // log(of_p·p + (1 - of_p)·q); arbitrary for excluded classes.
  const auto log_mixture = [&](double of_p) {
    const Tensor p = where(absent, 0, log_p), q = where(absent, 0, log_q);
    return of_p == 0 ? q : of_p == 1 ? p : logaddexp(p + std::log(of_p), q + std::log1p(-of_p));
  };
  Tensor terms;
  if (options.divergence == Divergence::reverse_kl) terms = divergence_of(log_q, log_p);
  if (options.divergence == Divergence::skew_kl) terms = divergence_of(log_p, log_mixture(beta));
  if (options.divergence == Divergence::skew_reverse_kl) terms = divergence_of(log_q, log_mixture(1 - beta));
  if (options.divergence == Divergence::jensen_shannon)
    terms =
        divergence_of(log_p, log_mixture(beta)) * beta + divergence_of(log_q, log_mixture(beta)) * (1 - beta);
  return terms * (T * T);
}

// The reference, in ops: equals the kernel, and provides higher derivatives.
Tensor definition(const Call& call, const Tensor& student, const Tensor& teacher) {
  const double alpha = call.options.alpha;
  // Excluded rows may contain anything, including NaN and labels out of range.
  const Tensor mask = call.rows.mask;
  const auto counting = [&](const Tensor& logits) {
    return mask.defined() ? where(unsqueeze(mask, -1), logits, 0) : logits;
  };
  const Tensor s = counting(student);
  Tensor terms;
  if (alpha > 0) terms = divergence_terms(s, counting(teacher), call.options) * alpha;
  if (alpha < 1) {
    const Tensor labels =
        reshape(detail::counted_terms(call.rows.labels, call.rows), {call.rows.labels.size()});
    const Tensor entropy = cross_entropy(reshape(s, {labels.size(), s.size(-1)}), labels,
                                         {.ignore_index = -1, .reduction = Reduction::none});
    const Tensor weighted = reshape(entropy, call.rows.labels.shape()) * (1 - alpha);
    terms = terms.defined() ? terms + weighted : weighted;
  }
  if (call.rows.weight.defined()) terms = terms * call.rows.weight;
  terms = detail::counted_terms(terms, call.rows);
  return call.by_row() ? terms : sum(terms) * call.scale;
}

}  // namespace

namespace detail {

void check_distillation_options(const char* caller, const DistillationLossOptions& options) {
  require_positive(caller, "temperature", options.temperature);
  // Its square and its inverse are factors, which must be normal numbers of float32.
  require_option(options.temperature >= 1e-18 && options.temperature <= 1e18, caller, "temperature",
                 options.temperature, "from 1e-18 to 1e18");
  require_from_0_to_1(caller, "alpha", options.alpha);
  const bool skew =
      options.divergence == Divergence::skew_kl || options.divergence == Divergence::skew_reverse_kl;
  const double beta = options.beta;
  if (options.divergence == Divergence::jensen_shannon && !(beta > 0 && beta < 1))
    throw ValueError(
        message("{}: beta is {}; for jensen_shannon it must be above 0 and below 1", caller, beta));
  if (skew && !(beta >= 0 && beta < 1))
    throw ValueError(message("{}: beta is {}; for {} it must be at least 0 and below 1", caller, beta,
                             name(options.divergence)));
  if (options.reduction == Reduction::mean)
    throw ValueError(message("{}: reduction mean would divide by the classes too; use batchmean", caller));
}

ClassRows distillation_rows(const char* caller, const Shape& logits, DType dtype, const Tensor& labels,
                            const Tensor& mask, const Tensor& weight, const DistillationLossOptions& options,
                            const RowOptions::Names& names) {
  if (options.alpha < 1 && !labels.defined())
    throw ValueError(message("{}: .labels is missing but alpha is {}; give the classes, or set alpha to 1",
                             caller, options.alpha));
  ClassRows rows =
      prepare_rows(caller, logits, dtype, logits.size() - 1, labels,
                   {.mask = mask, .row_weight = weight, .read_labels = options.alpha < 1, .names = names});
  if (rows.divisor == 0 && options.reduction == Reduction::batchmean && rows.counted > 0) {
    rows.counted = 0;
    rows.mask = zeros(row_shape(logits, logits.size() - 1), DType::int64);
  }
  return rows;
}

double row_scale(Reduction reduction, const ClassRows& rows) {
  return reduction == Reduction::batchmean && rows.counted > 0 ? 1 / rows.divisor : 1;
}

}  // namespace detail

void DistillationLossOptions::check() const { detail::check_distillation_options(operation, *this); }

Tensor distillation_loss(const DistillationInputs& inputs, DistillationLossOptions options) {
  options.check();
  check_logits(inputs, options);
  const bool has_teacher = options.alpha > 0;
  DType dtype = inputs.student.dtype();
  if (has_teacher) dtype = promote(dtype, inputs.teacher.dtype());
  const auto call = std::make_shared<Call>();
  call->options = options;
  call->student = inputs.student.to(dtype);
  if (has_teacher)
    call->teacher = (options.detach_teacher ? inputs.teacher.detach() : inputs.teacher).to(dtype);
  call->rows = detail::distillation_rows(operation, call->student.shape(), dtype, inputs.labels, inputs.mask,
                                         inputs.weight, options);
  call->scale = detail::row_scale(options.reduction, call->rows);

  bool recorded = false;
  for (std::size_t i = 0; i < 2; ++i) {
    const Tensor& logits = i == 0 ? call->student : call->teacher;
    if (!is_grad_enabled() || !logits.defined() || !logits.requires_grad()) continue;
    call->units[i] = empty_like(logits);
    recorded = true;
  }
  const Tensor terms =
      empty(detail::row_shape(call->student.shape(), call->student.shape().size() - 1), dtype);
  compute_into(
      dtype,
      [&]<class T>(T* loss, T* student_gradient, T* teacher_gradient, const T* student, const T* teacher,
                   const T* weight) {
        kernels::distillation_rows<T>(
            {.rows = terms.size(),
             .classes = call->student.size(-1),
             .temperature = options.temperature,
             .alpha = options.alpha,
             .divergence = options.divergence,
             .beta = options.beta,
             .standardize = options.standardize,
             .student = student,
             .teacher = teacher,
             .labels = options.alpha < 1 ? detail::elements<Index>(call->rows.labels) : nullptr,
             .mask = detail::elements<Index>(call->rows.mask),
             .loss = loss,
             .student_gradient = student_gradient,
             .teacher_gradient = teacher_gradient,
             .g = weight,
             .scale = call->scale});
        for (Index i = 0; weight != nullptr && i < terms.size(); ++i) loss[i] *= weight[i];
      },
      writable(terms), writable(call->units[0]), writable(call->units[1]), call->student, call->teacher,
      call->rows.weight);
  const Tensor value = call->by_row() ? terms : sum(terms) * call->scale;
  if (!recorded) return value;

  const auto rule = [call] {
    return vjp_by_reference([call](const Tensors& x) { return definition(*call, x[0], x[1]); },
                            {call->student, call->teacher});
  };
  return record({.name = operation,
                 .inputs = {call->student, call->teacher},
                 .value = value,
                 .vjp = [rule](const Tensor& g, Needs needs) { return rule()(g, needs); },
                 .fast_vjp =
                     [call, rule](const Tensor& g, Needs needs) {
                       // A product with inf or NaN would affect excluded rows and classes.
                       std::array<Tensor, 2> result;
                       if (!detail::all_finite(g)) {
                         std::ranges::move(rule()(g, needs), result.begin());
                         return result;
                       }
                       for (std::size_t i = 0; i < 2; ++i) {
                         if (!needs[i]) continue;
                         const Tensor& unit = call->units[i];
                         if (call->by_row())
                           result[i] = unit * unsqueeze(g, -1);
                         else
                           result[i] = g.item<double>() == 1 ? unit : unit * g.item<double>();
                       }
                       return result;
                     }});
}

}  // namespace retort
