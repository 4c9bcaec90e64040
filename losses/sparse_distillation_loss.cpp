#include "retort/losses/sparse_distillation_loss.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/sparse_distillation.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"
#include "retort/framework/ops/sorting.hpp"
#include "retort/losses/cross_entropy_loss.hpp"
#include "retort/losses/distillation_loss.hpp"
#include "retort/losses/sparse_rows_impl.hpp"
#include "retort/losses/weighted_rows_impl.hpp"

namespace retort {
namespace {

constexpr const char* operation = "sparse_distillation_loss";
constexpr double infinity = std::numeric_limits<double>::infinity();

// The inputs of the loss, in one float type, with rows flattened.
struct Call {
  Tensor student;         // [N, C]
  SparseTeacher teacher;  // [N, K], prepared
  Tensor labels;          // [N]; undefined if alpha is 1
  Tensor mask;            // [N]; undefined if all rows are included
  Tensor weight;          // [N]; undefined for 1
  double scale = 1;       // factor of the sum over rows
  SparseDistillationLossOptions options;

  bool by_row() const { return options.reduction == Reduction::none; }
};

// `x` [..., C] with -inf at the indices [..., K].
Tensor without(const Tensor& x, const Tensor& indices) {
  const Tensor hits = scatter_add(zeros_like(x), -1, indices, ones(indices.shape(), x.dtype()));
  return where(not_equal(hits, 0), -infinity, x);
}

// T²·D of each row, in ops.
Tensor divergences(const Call& call, const Tensor& student) {
  const double T = call.teacher.temperature;
  const Tensor kept = gather(student, 1, call.teacher.indices);
  if (call.options.tail == Tail::drop) {
    const Tensor log_q = gather(log_softmax(student / T, 1), 1, call.teacher.indices);
    const Tensor p = exp(call.teacher.log_probs), present = greater(p, 0);
    return sum(where(present, p * (call.teacher.log_probs - where(present, log_q, 0)), 0), 1) * (T * T);
  }
  Tensor s = kept, t = call.teacher.log_probs;
  if (call.options.tail == Tail::bucket) {
    const Tensor rest = without(student, call.teacher.indices);
    const Tensor has_rest = not_equal(amax(rest.detach(), 1, true), -infinity);
    const Tensor mass = logsumexp(where(has_rest, rest, 0) / T, 1, true) * T;
    s = concat({kept, where(has_rest, mass, -infinity)}, 1);
    t = concat({t, unsqueeze(call.teacher.log_tail, 1)}, 1);
  }
  return distillation_loss({.student = s, .teacher = t * T},
                           {.temperature = T, .reduction = Reduction::none});
}

// The reference, in ops: equals the kernel, and provides higher derivatives.
Tensor definition(const Call& call, const Tensor& logits) {
  const double alpha = call.options.alpha;
  const Tensor student = call.mask.defined() ? where(unsqueeze(call.mask, 1), logits, 0) : logits;
  Tensor terms = alpha > 0 ? divergences(call, student) * alpha : zeros({student.size(0)}, student.dtype());
  if (alpha < 1) {
    const Tensor labels = call.mask.defined() ? where(call.mask, call.labels, 0) : call.labels;
    terms = terms +
            cross_entropy(student, labels, {.ignore_index = -1, .reduction = Reduction::none}) * (1 - alpha);
  }
  if (call.mask.defined()) terms = where(call.mask, terms, 0);
  if (call.weight.defined()) terms = terms * call.weight;
  return call.by_row() ? terms : sum(terms) * call.scale;
}

// Writes the losses of all rows and, if `gradient` is defined, the gradient of their weighted and scaled sum.
void run(const Call& call, const Tensor& loss, const Tensor& gradient) {
  compute_into(
      call.student.dtype(),
      [&]<class T>(T* of_row, T* to, const T* student, const T* log_probs, const T* log_tail,
                   const T* weight) {
        kernels::sparse_distillation_rows<T>({.rows = call.student.size(0),
                                              .classes = call.student.size(1),
                                              .kept = call.teacher.indices.size(1),
                                              .temperature = call.teacher.temperature,
                                              .alpha = call.options.alpha,
                                              .tail = static_cast<kernels::SparseTail>(call.options.tail),
                                              .student = student,
                                              .indices = detail::elements<Index>(call.teacher.indices),
                                              .log_probs = log_probs,
                                              .log_tail = log_tail,
                                              .labels = detail::elements<Index>(call.labels),
                                              .mask = detail::elements<Index>(call.mask),
                                              .loss = of_row,
                                              .gradient = to,
                                              .g = weight,
                                              .scale = call.scale});
      },
      writable(loss), writable(gradient), call.student, call.teacher.log_probs, call.teacher.log_tail,
      call.weight);
}

// The loss, or the losses of all rows.
Tensor recorded(const Call& call) {
  const Tensor terms = empty({call.student.size(0)}, call.student.dtype());
  const Tensor unit = is_grad_enabled() && call.student.requires_grad() ? empty_like(call.student) : Tensor();
  run(call, terms, unit);
  const Tensor weighted = call.weight.defined() ? terms * call.weight : terms;
  const auto rule =
      vjp_by_reference([call](const Tensors& x) { return definition(call, x[0]); }, {call.student});
  return record({.name = operation,
                 .inputs = {call.student},
                 .value = call.by_row() ? weighted : sum(weighted) * call.scale,
                 .vjp = rule,
                 .fast_vjp = [rule, unit, by_row = call.by_row()](const Tensor& g, Needs needs) {
                   // A product with inf or NaN would affect excluded rows and classes.
                   if (!detail::all_finite(g)) return rule(g, needs)[0];
                   if (by_row) return unit * unsqueeze(g, 1);
                   return g.item<double>() == 1 ? unit : unit * g.item<double>();
                 }});
}

}  // namespace

SparseTeacher sparse_teacher(const Tensor& logits, Index k, double temperature) {
  detail::require_floating("sparse_teacher", "logits", logits);
  detail::require_positive("sparse_teacher", "temperature", temperature);
  if (logits.dim() == 0) throw ShapeError("sparse_teacher: logits have shape (); expected (..., C)");
  const Index classes = logits.size(-1);
  if (k < 1 || k > classes)
    throw ValueError(
        message("sparse_teacher: k is {}; it must be between 1 and {}, the number of classes", k, classes));
  const NoGradGuard no_grad;
  const Tensor log_p = log_softmax(logits / temperature, -1);
  const auto [log_probs, indices] = topk(log_p, k, -1);
  const Tensor log_tail = logsumexp(without(log_p, indices), -1);
  return {indices, log_probs, log_tail, classes, temperature};
}

Tensor dense_logits(const SparseTeacher& teacher) {
  const auto& [indices, log_probs, log_tail, classes, temperature] = teacher;
  detail::check_sparse_tensors("dense_logits", teacher);
  if (classes == 0 && indices.size() > 0) throw ValueError("dense_logits: the teacher's .classes is missing");
  if (indices.dim() == 0 || log_probs.shape() != indices.shape() ||
      log_tail.shape() != detail::row_shape(indices.shape(), indices.dim() - 1) || indices.size(-1) > classes)
    throw ShapeError(
        message("dense_logits: indices have shape {}, log_probs {} and log_tail {} of {}; "
                "expected (..., K), (..., K) and (...) with K <= C",
                indices.shape(), log_probs.shape(), log_tail.shape(), detail::counted(classes, "class")));
  (void)detail::prepare_sparse_teacher("dense_logits", teacher, log_tail.size(), log_probs.dtype(), {});
  const Index rest = classes - indices.size(-1);
  Shape shape = indices.shape();
  shape.back() = classes;
  const Tensor hits = scatter_add(zeros(shape, log_probs.dtype()), -1, indices, ones_like(log_probs));
  const Tensor kept = scatter_add(zeros(shape, log_probs.dtype()), -1, indices,
                                  where(equal(log_probs, -infinity), 0, log_probs));
  const Tensor absent = scatter_add(zeros(shape, log_probs.dtype()), -1, indices,
                                    equal(log_probs, -infinity).to(log_probs.dtype()));
  const Tensor others = unsqueeze(log_tail, -1) - std::log(static_cast<double>(std::max<Index>(rest, 1)));
  const Tensor log_p = where(greater(hits, 0), where(greater(absent, 0), -infinity, kept), others);
  return log_p * temperature;
}

void SparseDistillationLossOptions::check() const {
  detail::check_distillation_options(operation, {.alpha = alpha, .reduction = reduction});
}

Tensor sparse_distillation_loss(const SparseDistillationInputs& inputs,
                                SparseDistillationLossOptions options) {
  const Tensor& student = inputs.student;
  options.check();
  if (!student.defined()) throw ValueError(message("{}: .student is missing", operation));
  detail::require_floating(operation, ".student", student);
  detail::check_sparse_teacher(operation, inputs.teacher, student.shape());
  const Index classes = student.size(-1);
  const Shape row_shape = detail::row_shape(student.shape(), student.dim() - 1);
  const detail::ClassRows rows =
      detail::prepare_rows(operation, student.shape(), student.dtype(), student.dim() - 1, inputs.labels,
                           {.mask = inputs.mask,
                            .row_weight = inputs.weight,
                            .read_labels = options.alpha < 1,
                            .names = detail::distillation_names});
  if (options.alpha < 1 && !inputs.labels.defined())
    throw ValueError(message("{}: .labels is missing but alpha is {}; give the classes, or set alpha to 1",
                             operation, options.alpha));
  const Index count = element_count(row_shape);
  const auto flat = [&](const Tensor& x) { return x.defined() ? reshape(x, {count}) : x; };
  Call call{.student = student.dim() == 2 ? student : reshape(student, {count, classes}),
            .teacher = detail::prepare_sparse_teacher(operation, inputs.teacher, count, student.dtype(),
                                                      flat(rows.mask)),
            .labels = options.alpha < 1 ? flat(rows.labels) : Tensor(),
            .mask = flat(rows.mask),
            .weight = flat(rows.weight),
            .options = options};
  if (options.reduction == Reduction::batchmean) call.scale = rows.divisor == 0 ? 0 : 1 / rows.divisor;
  const Tensor loss = recorded(call);
  return call.by_row() ? reshape(loss, row_shape) : loss;
}

}  // namespace retort
