#include "retort/losses/sparse_distillation_loss.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

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
#include "retort/losses/weighted_rows_impl.hpp"

namespace retort {
namespace {

constexpr const char* operation = "sparse_distillation_loss";
constexpr double infinity = std::numeric_limits<double>::infinity();

// Rows flattened, in one float type, the kept classes of each row in ascending order.
struct Call {
  Tensor student;    // [N, C]
  Tensor indices;    // [N, K]; 0 … K-1 in rows that do not count
  Tensor log_probs;  // [N, K]
  Tensor log_tail;   // [N]
  Tensor labels;     // [N]; undefined if alpha is 1
  Tensor mask;       // [N]; undefined if all rows count
  Tensor weight;     // [N]; undefined for 1
  double temperature = 1;
  double scale = 1;  // factor of the sum over rows
  SparseDistillationLossOptions options;

  bool by_row() const { return options.reduction == Reduction::none; }
};

void check(const SparseDistillationInputs& in, const SparseDistillationLossOptions& options) {
  const SparseTeacher& teacher = in.teacher;
  for (const auto& [name, given] : {std::pair<const char*, const Tensor&>(".student", in.student),
                                    {".teacher.indices", teacher.indices},
                                    {".teacher.log_probs", teacher.log_probs},
                                    {".teacher.log_tail", teacher.log_tail}})
    if (!given.defined()) throw ValueError(message("{}: {} is missing", operation, name));
  detail::check_distillation_options(
      operation,
      {.temperature = teacher.temperature, .alpha = options.alpha, .reduction = options.reduction});
  detail::require_floating(operation, in.student);
  detail::require_floating(operation, teacher.log_probs);
  detail::require_floating(operation, teacher.log_tail);
  detail::require_int64(operation, "teacher.indices", teacher.indices);
  if (in.student.dim() == 0 || in.student.size(-1) != teacher.classes)
    throw ShapeError(message("{}: student has shape {} but the teacher has {} classes; expected (..., {})",
                             operation, in.student.shape(), teacher.classes, teacher.classes));
  const Shape rows = detail::row_shape(in.student.shape(), in.student.dim() - 1);
  Shape kept = rows;
  kept.push_back(teacher.indices.dim() > 0 ? teacher.indices.size(-1) : 0);
  if (teacher.indices.shape() != kept || teacher.log_probs.shape() != kept ||
      teacher.log_tail.shape() != rows)
    throw ShapeError(message(
        "{}: the student has rows {}, but the teacher has indices {}, log_probs {} and "
        "log_tail {}",
        operation, rows, teacher.indices.shape(), teacher.log_probs.shape(), teacher.log_tail.shape()));
}

// The kept classes of each row in ascending order, and the logarithms of their probabilities likewise.
void sort_kept(Call& call, Index classes) {
  const Index rows = call.indices.size(0), kept = call.indices.size(1);
  const Tensor indices = empty({rows, kept}, DType::int64), log_probs = empty_like(call.log_probs);
  const Index* const mask = detail::elements<Index>(call.mask);
  const Index* const given = detail::elements<Index>(call.indices);
  Index* const sorted = detail::elements<Index>(writable(indices));
  compute_into(
      log_probs.dtype(),
      [&](auto* to, const auto* from) {
        std::vector<Index> order(static_cast<std::size_t>(kept));
        for (Index i = 0; i < rows; ++i) {
          const Index* const row = given + i * kept;
          std::iota(order.begin(), order.end(), 0);
          if (mask != nullptr && mask[i] == 0) {
            std::copy(order.begin(), order.end(), sorted + i * kept);
            std::fill_n(to + i * kept, kept, 0);
            continue;
          }
          std::sort(order.begin(), order.end(), [&](Index a, Index b) { return row[a] < row[b]; });
          for (Index k = 0; k < kept; ++k) {
            const Index at = order[static_cast<std::size_t>(k)], c = row[at];
            if (c < 0 || c >= classes)
              throw IndexError(message("{}: the teacher's class {} in row {} is out of range [0, {})",
                                       operation, c, i, classes));
            if (k > 0 && c == sorted[i * kept + k - 1])
              throw ValueError(message("{}: the teacher names class {} twice in row {}", operation, c, i));
            sorted[i * kept + k] = c;
            to[i * kept + k] = from[i * kept + at];
          }
        }
      },
      writable(log_probs), call.log_probs);
  call.indices = indices;
  call.log_probs = log_probs;
}

// `x` [..., C] with -inf at the indices [..., K].
Tensor without(const Tensor& x, const Tensor& indices) {
  const Tensor hits = scatter_add(zeros_like(x), -1, indices, ones(indices.shape(), x.dtype()));
  return where(not_equal(hits, 0), -infinity, x);
}

// T²·D of each row, in ops.
Tensor divergences(const Call& call, const Tensor& student) {
  const double T = call.temperature;
  const Tensor kept = gather(student, 1, call.indices);
  if (call.options.tail == Tail::drop) {
    const Tensor log_q = gather(log_softmax(student / T, 1), 1, call.indices);
    const Tensor p = exp(call.log_probs), present = greater(p, 0);
    return sum(where(present, p * (call.log_probs - where(present, log_q, 0)), 0), 1) * (T * T);
  }
  Tensor s = kept, t = call.log_probs;
  if (call.options.tail == Tail::bucket) {
    const Tensor rest = without(student, call.indices);
    const Tensor has_rest = not_equal(amax(rest.detach(), 1, true), -infinity);
    const Tensor mass = logsumexp(where(has_rest, rest, 0) / T, 1, true) * T;
    s = concat({kept, where(has_rest, mass, -infinity)}, 1);
    t = concat({t, unsqueeze(call.log_tail, 1)}, 1);
  }
  return distillation_loss({.student = s, .teacher = t * T},
                           {.temperature = T, .reduction = Reduction::none});
}

// The definition, in ops: the same value as the kernel, and the way to higher derivatives.
Tensor definition(const Call& call, const Tensor& logits) {
  const double alpha = call.options.alpha;
  const Tensor student = call.mask.defined() ? where(unsqueeze(call.mask, 1), logits, 0) : logits;
  Tensor terms = divergences(call, student) * alpha;
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
                                              .kept = call.indices.size(1),
                                              .temperature = call.temperature,
                                              .alpha = call.options.alpha,
                                              .tail = static_cast<kernels::SparseTail>(call.options.tail),
                                              .student = student,
                                              .indices = detail::elements<Index>(call.indices),
                                              .log_probs = log_probs,
                                              .log_tail = log_tail,
                                              .labels = detail::elements<Index>(call.labels),
                                              .mask = detail::elements<Index>(call.mask),
                                              .loss = of_row,
                                              .gradient = to,
                                              .g = weight,
                                              .scale = call.scale});
      },
      writable(loss), writable(gradient), call.student, call.log_probs, call.log_tail, call.weight);
}

// The loss, or those of all rows.
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
                   // A product with inf or NaN would touch rows and classes that take no part.
                   if (!detail::all_finite(g)) return rule(g, needs)[0];
                   if (by_row) return unit * unsqueeze(g, 1);
                   return g.item<double>() == 1 ? unit : unit * g.item<double>();
                 }});
}

}  // namespace

SparseTeacher sparse_teacher(const Tensor& logits, Index k, double temperature) {
  detail::require_floating("sparse_teacher", logits);
  detail::check_distillation_options("sparse_teacher", {.temperature = temperature});
  if (logits.dim() == 0) throw ShapeError("sparse_teacher: logits have shape (); expected (..., C)");
  const Index classes = logits.size(-1);
  if (k < 1 || k > classes)
    throw ValueError(message("sparse_teacher: k is {}; it must be between 1 and the {} classes", k, classes));
  const NoGradGuard no_grad;
  const Tensor log_p = log_softmax(logits / temperature, -1);
  const auto [log_probs, indices] = topk(log_p, k, -1);
  const Tensor log_tail = logsumexp(without(log_p, indices), -1);
  return {indices, log_probs, log_tail, classes, temperature};
}

Tensor dense_logits(const SparseTeacher& teacher) {
  const auto& [indices, log_probs, log_tail, classes, temperature] = teacher;
  if (indices.dim() == 0 || log_probs.shape() != indices.shape() ||
      log_tail.shape() != detail::row_shape(indices.shape(), indices.dim() - 1) || indices.size(-1) > classes)
    throw ShapeError(
        message("dense_logits: indices have shape {}, log_probs {} and log_tail {} of {} classes; "
                "expected (..., K), (..., K) and (...) with K <= C",
                indices.shape(), log_probs.shape(), log_tail.shape(), classes));
  const NoGradGuard no_grad;
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

Tensor sparse_distillation_loss(const SparseDistillationInputs& inputs,
                                SparseDistillationLossOptions options) {
  check(inputs, options);
  const Tensor& student = inputs.student;
  const Index classes = student.size(-1), kept = inputs.teacher.indices.size(-1);
  const detail::ClassRows rows = detail::prepare_rows(
      operation, student.shape(), student.dtype(), student.dim() - 1, inputs.labels,
      {.mask = inputs.mask, .row_weight = inputs.weight, .read_labels = options.alpha < 1});
  if (options.alpha < 1 && !inputs.labels.defined())
    throw ValueError(message("{}: .labels is missing but alpha is {}; give the classes, or set alpha to 1",
                             operation, options.alpha));
  const DType dtype = student.dtype();
  const Index count = element_count(detail::row_shape(student.shape(), student.dim() - 1));
  const auto flat = [&](const Tensor& x) { return x.defined() ? reshape(x, {count}) : x; };
  Call call{.student = student.dim() == 2 ? student : reshape(student, {count, classes}),
            .indices = reshape(inputs.teacher.indices, {count, kept}),
            .log_probs = reshape(inputs.teacher.log_probs.detach().to(dtype), {count, kept}),
            .log_tail = flat(inputs.teacher.log_tail.detach().to(dtype)),
            .labels = options.alpha < 1 ? flat(rows.labels) : Tensor(),
            .mask = flat(rows.mask),
            .weight = flat(rows.weight),
            .temperature = inputs.teacher.temperature,
            .options = options};
  if (options.reduction == Reduction::batchmean) call.scale = rows.divisor == 0 ? 0 : 1 / rows.divisor;
  sort_kept(call, classes);
  const Tensor loss = recorded(call);
  return call.by_row() ? reshape(loss, detail::row_shape(student.shape(), student.dim() - 1)) : loss;
}

}  // namespace retort
