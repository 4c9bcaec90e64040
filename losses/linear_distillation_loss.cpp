#include "retort/losses/linear_distillation_loss.hpp"

#include <algorithm>
#include <array>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/distillation.hpp"
#include "retort/framework/kernels/gemm.hpp"
#include "retort/framework/kernels/reduce.hpp"
#include "retort/framework/kernels/sparse_distillation.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/matmul.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/losses/rows_impl.hpp"
#include "retort/losses/sparse_rows_impl.hpp"

namespace retort {
namespace {

constexpr const char* operation = "linear_distillation_loss";

// A linear layer: hidden [N, features], weight [C, features], bias [C] or undefined.
struct Layer {
  Tensor hidden, weight, bias;
  bool defined() const { return hidden.defined(); }
};

// The inputs of the loss, in one float type, with rows flattened.
struct Call {
  Layer student;
  Layer teacher;           // or
  Tensor teacher_logits;   // [N, C], or
  SparseTeacher sparse;    // [N, K], indices undefined if absent; none of the three if alpha is 0
  detail::ClassRows rows;  // labels and mask [N]
  DistillationLossOptions options;
  double scale = 1;
  Index count = 0, classes = 0;
  DType dtype = DType::float32;
};

void check_layer(const char* whose, const Tensor& hidden, const Tensor& weight, const Tensor& bias) {
  for (const auto& [what, given] :
       {std::pair<const char*, const Tensor&>("hidden", hidden), {"weight", weight}}) {
    if (!given.defined()) throw ValueError(message("{}: {}{} is missing", operation, whose, what));
    detail::require_floating(operation, message("{}{}", whose, what).c_str(), given);
  }
  if (weight.dim() != 2 || hidden.dim() == 0 || hidden.size(-1) != weight.size(1))
    throw ShapeError(
        message("{}: {}hidden has shape {} but {}weight {}; they must be (..., features) and "
                "(classes, features)",
                operation, whose, hidden.shape(), whose, weight.shape()));
  if (!bias.defined()) return;
  detail::require_floating(operation, message("{}bias", whose).c_str(), bias);
  if (bias.shape() != Shape{weight.size(0)})
    throw ShapeError(message("{}: {}bias has shape {} but {}weight {}; bias must have shape {}", operation,
                             whose, bias.shape(), whose, weight.shape(), Shape{weight.size(0)}));
}

// Returns the shape of the student's logits, after all checks.
Shape check_inputs(const LinearDistillationInputs& in, const DistillationLossOptions& options) {
  check_layer(".", in.hidden, in.weight, in.bias);
  Shape logits = in.hidden.shape();
  logits.back() = in.weight.size(0);
  const bool sparse = in.teacher_sparse.indices.defined();
  if (in.teacher_logits.defined() + in.teacher_hidden.defined() + sparse > 1)
    throw ValueError(
        message("{}: give one of .teacher_logits, .teacher_hidden and .teacher_sparse", operation));
  Shape given = logits;
  if (sparse) {
    detail::check_sparse_teacher(operation, in.teacher_sparse, logits);
    if (options.divergence != Divergence::forward_kl || options.standardize)
      throw ValueError(message("{}: a sparse teacher has the divergence forward_kl, not {}{}", operation,
                               name(options.divergence),
                               options.standardize ? " of standardized logits" : ""));
  } else if (in.teacher_logits.defined()) {
    detail::require_floating(operation, ".teacher_logits", in.teacher_logits);
    given = in.teacher_logits.shape();
  } else if (in.teacher_hidden.defined()) {
    check_layer(".teacher_", in.teacher_hidden, in.teacher_weight, in.teacher_bias);
    given = in.teacher_hidden.shape();
    given.back() = in.teacher_weight.size(0);
  } else if (options.alpha > 0) {
    throw ValueError(
        message("{}: the teacher is missing but alpha is {}; give .teacher_logits, "
                ".teacher_hidden and .teacher_weight, or .teacher_sparse",
                operation, options.alpha));
  }
  if (given != logits)
    throw ShapeError(
        message("{}: the student's logits have shape {} but the teacher's {}; they must be equal", operation,
                logits, given));
  return logits;
}

Call prepare(const LinearDistillationInputs& in, const DistillationLossOptions& options,
             const Shape& logits) {
  Call call;
  call.options = options;
  call.count = 1;
  call.classes = logits.back();
  call.dtype = in.hidden.dtype();
  for (const Tensor& other :
       {in.weight, in.bias, in.teacher_logits, in.teacher_hidden, in.teacher_weight, in.teacher_bias})
    if (other.defined()) call.dtype = promote(call.dtype, other.dtype());
  call.rows = detail::distillation_rows(operation, logits, call.dtype, in.labels, in.mask, in.row_weight,
                                        options, {"the student's output", ".labels", ".mask", ".row_weight"});
  call.scale = detail::row_scale(options.reduction, call.rows);
  for (std::size_t i = 0; i + 1 < logits.size(); ++i) call.count *= logits[i];

  const auto typed = [&](const Tensor& x) { return x.defined() ? x.to(call.dtype) : x; };
  const auto flat = [&](const Tensor& x) {
    return x.defined() && x.dim() != 2 ? reshape(typed(x), {call.count, x.size(-1)}) : typed(x);
  };
  call.student = {flat(in.hidden), typed(in.weight), typed(in.bias)};
  if (options.alpha > 0 && in.teacher_sparse.indices.defined())
    call.sparse = detail::prepare_sparse_teacher(
        operation, in.teacher_sparse, call.count, call.dtype,
        call.rows.mask.defined() ? reshape(call.rows.mask, {call.count}) : Tensor());
  else if (options.alpha > 0 && in.teacher_logits.defined())
    call.teacher_logits = flat(in.teacher_logits);
  else if (options.alpha > 0)
    call.teacher = {flat(in.teacher_hidden), typed(in.teacher_weight), typed(in.teacher_bias)};
  if (options.detach_teacher)
    for (Tensor* x : {&call.teacher_logits, &call.teacher.hidden, &call.teacher.weight, &call.teacher.bias})
      if (x->defined()) *x = x->detach();
  for (Tensor* x : {&call.rows.labels, &call.rows.mask, &call.rows.weight})
    if (x->defined()) *x = reshape(*x, {call.count});
  // Excluded rows may contain anything, and 0·NaN must not reach the gradient of the weight.
  if (call.rows.mask.defined())
    for (Tensor* x : {&call.student.hidden, &call.teacher.hidden})
      if (x->defined()) *x = where(unsqueeze(call.rows.mask, 1), *x, 0);
  return call;
}

// The reference: the two calls one after the other.
Tensor definition(const Call& call, const Tensors& student) {
  const Tensor logits = linear(student[0], student[1], student[2]);
  if (call.sparse.indices.defined())
    return sparse_distillation_loss({.student = logits,
                                     .teacher = call.sparse,
                                     .labels = call.rows.labels,
                                     .mask = call.rows.mask,
                                     .weight = call.rows.weight},
                                    {.alpha = call.options.alpha, .reduction = call.options.reduction});
  Tensor teacher = call.teacher_logits;
  if (call.teacher.defined()) teacher = linear(call.teacher.hidden, call.teacher.weight, call.teacher.bias);
  return distillation_loss({.student = logits,
                            .teacher = teacher,
                            .labels = call.rows.labels,
                            .mask = call.rows.mask,
                            .weight = call.rows.weight},
                           call.options);
}

// Number of rows whose logits exist at a time. Each chunk reads and writes the whole gradient of the weight,
// which from 256 rows on costs a few per cent of its products.
Index rows_at_once(const Call& call) {
  constexpr Index least = 256, bytes = Index{32} << 20;
  const Index row = call.classes * static_cast<Index>(size_of(call.dtype));
  return std::min(call.count, std::max(least, bytes / std::max<Index>(1, row) / least * least));
}

template <class T>
void layer_rows(const Layer& layer, Index first, Index count, T* logits) {
  const Index features = layer.weight.size(1);
  kernels::linear<T>(detail::elements<T>(layer.hidden) + first * features, detail::elements<T>(layer.weight),
                     detail::elements<T>(layer.bias), logits, count, features, layer.weight.size(0));
}

// Processes the chunks: writes the losses [N] unless null, and accumulates the gradients of sum(g·loss)·scale
// for hidden, weight and bias, each unless null. g is [N], or null for 1 everywhere.
template <class T>
void walk(const Call& call, T* losses, const T* g, T* to_hidden, T* to_weight, T* to_bias) {
  const Index chunk = rows_at_once(call), classes = call.classes;
  const Index features = call.student.weight.size(1);
  const bool derive = to_hidden != nullptr || to_weight != nullptr || to_bias != nullptr;
  const auto room = [&](Index rows) { return empty({rows, classes}, call.dtype); };
  const Tensor student = room(chunk), teacher = room(call.teacher.defined() ? chunk : 0), part = room(1);
  T* const logits = detail::elements<T>(writable(student));  // later overwritten by their gradient
  T* const bias_part = detail::elements<T>(writable(part));
  if (call.count == 0) {
    if (to_weight != nullptr) std::fill_n(to_weight, classes * features, T{0});
    if (to_bias != nullptr) std::fill_n(to_bias, classes, T{0});
  }
  for (Index first = 0; first < call.count; first += chunk) {
    const Index count = std::min(chunk, call.count - first);
    layer_rows<T>(call.student, first, count, logits);
    const T* teacher_rows = nullptr;
    if (call.teacher.defined()) {
      T* const rows = detail::elements<T>(writable(teacher));
      layer_rows<T>(call.teacher, first, count, rows);
      teacher_rows = rows;
    } else if (call.teacher_logits.defined()) {
      teacher_rows = detail::elements<T>(call.teacher_logits) + first * classes;
    }
    const auto integers = [&](const Tensor& x) {
      return x.defined() ? detail::elements<Index>(x) + first : nullptr;
    };
    const Index* const labels = call.options.alpha < 1 ? integers(call.rows.labels) : nullptr;
    T* const loss = losses != nullptr ? losses + first : nullptr;
    const T* const factors = g != nullptr ? g + first : nullptr;
    if (call.sparse.indices.defined()) {
      const Index kept = call.sparse.indices.size(1);
      kernels::sparse_distillation_rows<T>(
          {.rows = count,
           .classes = classes,
           .kept = kept,
           .temperature = call.sparse.temperature,
           .alpha = call.options.alpha,
           .student = logits,
           .indices = detail::elements<Index>(call.sparse.indices) + first * kept,
           .log_probs = detail::elements<T>(call.sparse.log_probs) + first * kept,
           .log_tail = detail::elements<T>(call.sparse.log_tail) + first,
           .labels = labels,
           .mask = integers(call.rows.mask),
           .loss = loss,
           .gradient = derive ? logits : nullptr,
           .g = factors,
           .scale = call.scale});
    } else {
      kernels::distillation_rows<T>({.rows = count,
                                     .classes = classes,
                                     .temperature = call.options.temperature,
                                     .alpha = call.options.alpha,
                                     .divergence = call.options.divergence,
                                     .beta = call.options.beta,
                                     .standardize = call.options.standardize,
                                     .student = logits,
                                     .teacher = teacher_rows,
                                     .labels = labels,
                                     .mask = integers(call.rows.mask),
                                     .loss = loss,
                                     .student_gradient = derive ? logits : nullptr,
                                     .g = factors,
                                     .scale = call.scale});
    }
    if (to_hidden != nullptr)
      kernels::gemm<T>(false, false, count, features, classes, 1, logits, classes,
                       detail::elements<T>(call.student.weight), features, 0, to_hidden + first * features,
                       features);
    if (to_weight != nullptr)
      kernels::gemm<T>(true, false, classes, features, count, 1, logits, classes,
                       detail::elements<T>(call.student.hidden) + first * features, features,
                       first == 0 ? 0 : 1, to_weight, features);
    if (to_bias == nullptr) continue;
    kernels::sum(logits, first == 0 ? to_bias : bias_part, {1, count, classes});
    for (Index c = 0; first > 0 && c < classes; ++c) to_bias[c] += bias_part[c];
  }
}

using Gradients = std::array<Tensor, 3>;  // of hidden, weight and bias; undefined if not needed

Gradients room_for(const Layer& student, Needs needs) {
  Gradients room;
  const Tensor* const inputs[] = {&student.hidden, &student.weight, &student.bias};
  for (std::size_t i = 0; i < room.size(); ++i)
    if (needs[i] && inputs[i]->defined() && inputs[i]->requires_grad()) room[i] = empty_like(*inputs[i]);
  return room;
}

void walk(const Call& call, const Tensor& losses, const Tensor& g, const Gradients& to) {
  compute_into(
      call.dtype, [&]<class T>(T* l, const T* gs, T* h, T* w, T* b) { walk<T>(call, l, gs, h, w, b); },
      writable(losses), g, writable(to[0]), writable(to[1]), writable(to[2]));
}

}  // namespace

Tensor linear_distillation_loss(const LinearDistillationInputs& inputs, DistillationLossOptions options) {
  if (inputs.teacher_sparse.indices.defined()) options.temperature = inputs.teacher_sparse.temperature;
  detail::check_distillation_options(operation, options);
  const Shape logits = check_inputs(inputs, options);
  const Call call = prepare(inputs, options, logits);
  const Tensors student{call.student.hidden, call.student.weight, call.student.bias};
  const bool by_row = options.reduction == Reduction::none;
  const Shape rows = detail::row_shape(logits, logits.size() - 1);
  for (const Tensor* x :
       {&call.teacher_logits, &call.teacher.hidden, &call.teacher.weight, &call.teacher.bias})
    if (is_grad_enabled() && x->defined() && x->requires_grad()) {
      const Tensor loss = definition(call, student);
      return by_row ? reshape(loss, rows) : loss;
    }

  Gradients units;
  if (is_grad_enabled() && !by_row) units = room_for(call.student, Needs(~0ULL));
  const Tensor terms = empty({call.count}, call.dtype);
  walk(call, terms, call.rows.weight, units);
  const Tensor weighted = call.rows.weight.defined() ? terms * call.rows.weight : terms;
  const auto rule = [call, student] {
    return vjp_by_reference([call](const Tensors& x) { return definition(call, x); }, student);
  };
  const Tensor loss = record({.name = operation,
                              .inputs = student,
                              .value = by_row ? weighted : sum(weighted) * call.scale,
                              .vjp = [rule](const Tensor& g, Needs needs) { return rule()(g, needs); },
                              .fast_vjp =
                                  [call, units, by_row, rule](const Tensor& g, Needs needs) {
                                    Gradients result;
                                    if (!detail::all_finite(g)) {
                                      std::ranges::move(rule()(g, needs), result.begin());
                                    } else if (by_row) {
                                      result = room_for(call.student, needs);
                                      const Tensor& weight = call.rows.weight;
                                      walk(call, {}, weight.defined() ? g * weight : g, result);
                                    } else {
                                      const double factor = g.item<double>();
                                      for (std::size_t i = 0; i < result.size(); ++i)
                                        if (needs[i] && units[i].defined())
                                          result[i] = factor == 1 ? units[i] : units[i] * factor;
                                    }
                                    return result;
                                  }});
  return by_row && rows != Shape{call.count} ? reshape(loss, rows) : loss;
}

}  // namespace retort
