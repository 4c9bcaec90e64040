#include "retort/losses/linear_distillation_loss.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/distillation.hpp"
#include "retort/framework/kernels/gemm.hpp"
#include "retort/framework/kernels/reduce.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/matmul.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

constexpr const char* operation = "linear_distillation_loss";

// A linear layer as the chunks need it: rows of [N, features] and weight [C, features].
struct Layer {
  Tensor hidden, weight, bias;
  std::int64_t features() const { return weight.size(1); }
  bool defined() const { return hidden.defined(); }
};

// All that the loss depends on, in one float type, rows flattened.
struct Call {
  Layer student;
  Layer teacher;          // or
  Tensor teacher_logits;  // [N, C]; neither when alpha is 0
  Tensor labels, mask;    // [N] or undefined
  DistillationLossOptions options;
  double scale = 1;
  std::int64_t rows = 0, classes = 0;
  DType dtype = DType::float32;
};

void check_layer(const char* whose, const Tensor& hidden, const Tensor& weight, const Tensor& bias) {
  for (const auto& [what, given] :
       {std::pair<const char*, const Tensor&>("hidden", hidden), {"weight", weight}}) {
    if (!given.defined()) throw ValueError(message("{}: {}{} is missing", operation, whose, what));
    detail::require_floating(operation, given);
  }
  if (weight.dim() != 2 || hidden.dim() == 0 || hidden.size(-1) != weight.size(1))
    throw ShapeError(
        message("{}: {}hidden has shape {} but {}weight {}; they must be (..., features) and "
                "(classes, features)",
                operation, whose, hidden.shape(), whose, weight.shape()));
  if (bias.defined() && bias.shape() != Shape{weight.size(0)})
    throw ShapeError(message("{}: {}bias has shape {} but {}weight {}; bias must have shape {}", operation,
                             whose, bias.shape(), whose, weight.shape(), Shape{weight.size(0)}));
}

// The shape that the student's logits would have, after all checks.
Shape check_inputs(const LinearDistillationInputs& in, const DistillationLossOptions& options) {
  check_layer(".", in.hidden, in.weight, in.bias);
  Shape logits = in.hidden.shape();
  logits.back() = in.weight.size(0);
  if (in.teacher_logits.defined() && in.teacher_hidden.defined())
    throw ValueError(message("{}: give .teacher_logits or .teacher_hidden, not both", operation));
  Shape given = logits;
  if (in.teacher_logits.defined()) {
    detail::require_floating(operation, in.teacher_logits);
    given = in.teacher_logits.shape();
  } else if (in.teacher_hidden.defined()) {
    check_layer(".teacher_", in.teacher_hidden, in.teacher_weight, in.teacher_bias);
    given = in.teacher_hidden.shape();
    given.back() = in.teacher_weight.size(0);
  } else if (options.alpha > 0) {
    throw ValueError(
        message("{}: the teacher is missing but alpha is {}; give .teacher_logits, or "
                ".teacher_hidden and .teacher_weight",
                operation, options.alpha));
  }
  if (given != logits)
    throw ShapeError(
        message("{}: the student's logits have shape {} but the teacher's {}; they must be equal", operation,
                logits, given));
  return logits;
}

Tensor flat_rows(const Tensor& x, DType dtype) {
  const Tensor rows = x.to(dtype);
  return rows.dim() == 2 ? rows
                         : reshape(rows, {x.size() / std::max<std::int64_t>(1, x.size(-1)), x.size(-1)});
}

Tensor maybe_to(const Tensor& x, DType dtype) { return x.defined() ? x.to(dtype) : x; }
Tensor maybe_flat(const Tensor& x) { return x.defined() ? reshape(x, {x.size()}) : x; }

Call prepare(const LinearDistillationInputs& in, const DistillationLossOptions& options,
             const Shape& logits) {
  Call call;
  call.options = options;
  call.dtype = promote(in.hidden.dtype(), in.weight.dtype());
  for (const Tensor& other :
       {in.bias, in.teacher_logits, in.teacher_hidden, in.teacher_weight, in.teacher_bias})
    if (other.defined()) call.dtype = promote(call.dtype, other.dtype());
  call.student = {flat_rows(in.hidden, call.dtype), in.weight.to(call.dtype), maybe_to(in.bias, call.dtype)};
  if (options.alpha > 0) {
    if (in.teacher_logits.defined()) {
      call.teacher_logits = flat_rows(in.teacher_logits, call.dtype);
    } else {
      call.teacher = {flat_rows(in.teacher_hidden, call.dtype), in.teacher_weight.to(call.dtype),
                      maybe_to(in.teacher_bias, call.dtype)};
    }
    if (options.detach_teacher) {
      for (Tensor* x : {&call.teacher_logits, &call.teacher.hidden, &call.teacher.weight, &call.teacher.bias})
        if (x->defined()) *x = x->detach();
    }
  }
  if (options.alpha < 1) call.labels = maybe_flat(in.labels);
  call.mask = maybe_flat(in.mask);
  call.rows = call.student.hidden.size(0);
  call.classes = logits.back();
  call.scale =
      detail::row_scale(options, detail::counted_rows(operation, logits, in.labels, in.mask, options.alpha));
  return call;
}

// The definition: the two calls one after the other.
Tensor reference(const Call& call, const Tensor& hidden, const Tensor& weight, const Tensor& bias) {
  Tensor teacher = call.teacher_logits;
  if (call.teacher.defined()) teacher = linear(call.teacher.hidden, call.teacher.weight, call.teacher.bias);
  return distillation_loss(
      {.student = linear(hidden, weight, bias), .teacher = teacher, .labels = call.labels, .mask = call.mask},
      call.options);
}

// Rows of logits that exist at a time. Each chunk reads and writes the whole gradient of the weight, which costs some
// per cent of its products from 256 rows on.
std::int64_t rows_at_once(const Call& call) {
  constexpr std::int64_t least = 256, bytes = std::int64_t{32} << 20;
  const std::int64_t row = call.classes * static_cast<std::int64_t>(size_of(call.dtype));
  return std::min(call.rows, std::max(least, bytes / std::max<std::int64_t>(1, row) / least * least));
}

template <class T>
void layer_rows(const Layer& layer, std::int64_t first, std::int64_t count, std::int64_t classes, T* logits) {
  kernels::linear<T>(layer.hidden.data<T>().data() + first * layer.features(), layer.weight.data<T>().data(),
                     layer.bias.defined() ? layer.bias.data<T>().data() : nullptr, logits, count,
                     layer.features(), classes);
}

struct Gradients {
  Tensor hidden, weight, bias;  // undefined where not wanted
  bool any() const { return hidden.defined() || weight.defined() || bias.defined(); }
};

// Walks over the chunks: writes the losses [N] (or nothing, when null) and gathers the gradients of sum(g·loss)·scale,
// g null for 1 everywhere.
template <class T>
void walk(const Call& call, T* losses, const T* g, Gradients& gradients) {
  const std::int64_t chunk = rows_at_once(call);
  const std::int64_t classes = call.classes;
  const std::int64_t features = call.student.features();
  const bool derive = gradients.any();
  Array student({chunk, classes}, call.dtype);  // the logits, then their gradient
  Array teacher({call.teacher.defined() ? chunk : 0, classes}, call.dtype);
  Array bias_part({classes}, call.dtype);
  const auto out = [](const Tensor& x) {
    return x.defined() ? x.mutable_array().template fill<T>().data() : nullptr;
  };
  T* to_hidden = out(gradients.hidden);
  T* to_weight = out(gradients.weight);
  T* to_bias = out(gradients.bias);
  for (std::int64_t first = 0; first < call.rows; first += chunk) {
    const std::int64_t count = std::min(chunk, call.rows - first);
    layer_rows<T>(call.student, first, count, classes, student.fill<T>().data());
    const T* teacher_rows = nullptr;
    if (call.teacher.defined()) {
      layer_rows<T>(call.teacher, first, count, classes, teacher.fill<T>().data());
      teacher_rows = teacher.fill<T>().data();
    } else if (call.teacher_logits.defined()) {
      teacher_rows = call.teacher_logits.data<T>().data() + first * classes;
    }
    const auto integers = [&](const Tensor& x) {
      return x.defined() ? x.data<std::int64_t>().data() + first : nullptr;
    };
    T* d_logits = derive ? student.fill<T>().data() : nullptr;
    kernels::distillation_rows<T>({.rows = count,
                                   .classes = classes,
                                   .temperature = call.options.temperature,
                                   .alpha = call.options.alpha,
                                   .student = student.fill<T>().data(),
                                   .teacher = teacher_rows,
                                   .labels = integers(call.labels),
                                   .mask = integers(call.mask),
                                   .loss = losses ? losses + first : nullptr,
                                   .student_gradient = d_logits,
                                   .g = g ? g + first : nullptr,
                                   .scale = call.scale});
    const T* rows = call.student.hidden.data<T>().data() + first * features;
    if (to_hidden)
      kernels::gemm<T>(false, false, count, features, classes, 1, d_logits, classes,
                       call.student.weight.data<T>().data(), features, 0, to_hidden + first * features,
                       features);
    if (to_weight)
      kernels::gemm<T>(true, false, classes, features, count, 1, d_logits, classes, rows, features,
                       first == 0 ? 0 : 1, to_weight, features);
    if (to_bias) {
      T* part = first == 0 ? to_bias : bias_part.fill<T>().data();
      kernels::sum(d_logits, part, {1, count, classes});
      if (first > 0)
        for (std::int64_t c = 0; c < classes; ++c) to_bias[c] += part[c];
    }
  }
  if (call.rows > 0) return;
  for (T* x : {to_weight, to_bias})
    if (x)
      std::memset(x, 0, sizeof(T) * static_cast<std::size_t>(x == to_weight ? classes * features : classes));
}

Gradients wanted_gradients(const Layer& student, Needs needs) {
  const auto room = [&](std::size_t i, const Tensor& x) {
    return needs[i] && x.defined() && x.requires_grad() ? empty_like(x) : Tensor();
  };
  return {room(0, student.hidden), room(1, student.weight), room(2, student.bias)};
}

std::array<Tensor, 3> scaled(const Gradients& unit, const Tensor& g, Needs needs) {
  std::array<Tensor, 3> result{unit.hidden, unit.weight, unit.bias};
  const double factor = g.item<double>();
  for (std::size_t i = 0; i < result.size(); ++i) {
    if (!needs[i]) result[i] = Tensor();
    if (result[i].defined() && factor != 1) result[i] = result[i] * factor;
  }
  return result;
}

}  // namespace

Tensor linear_distillation_loss(const LinearDistillationInputs& inputs, DistillationLossOptions options) {
  detail::check_distillation_options(operation, options);
  const Shape logits = check_inputs(inputs, options);
  const Call call = prepare(inputs, options, logits);
  const Layer& student = call.student;
  const bool recording = is_grad_enabled();
  const auto wants = [&](const Tensor& x) { return recording && x.defined() && x.requires_grad(); };
  const bool by_row = options.reduction == Reduction::none;
  const Shape rows = detail::row_shape(logits);
  if (wants(call.teacher_logits) || wants(call.teacher.hidden) || wants(call.teacher.weight) ||
      wants(call.teacher.bias)) {
    const Tensor loss = reference(call, student.hidden, student.weight, student.bias);
    return by_row ? reshape(loss, rows) : loss;
  }

  Gradients unit;
  if (recording && !by_row) unit = wanted_gradients(student, Needs(~0ULL));
  Array losses({call.rows}, call.dtype);
  visit_floating(call.dtype, [&](auto zero) {
    using T = decltype(zero);
    walk<T>(call, losses.fill<T>().data(), nullptr, unit);
  });
  const Tensor terms(std::move(losses));
  const Tensor value = by_row ? terms : sum(terms) * call.scale;
  const auto twin = [call](const Tensors& given) { return reference(call, given[0], given[1], given[2]); };
  const Tensor loss =
      record({.name = operation,
              .inputs = {student.hidden, student.weight, student.bias},
              .value = value,
              .vjp = vjp_by_reference(twin, {student.hidden, student.weight, student.bias}),
              .fast_vjp = [call, unit, by_row](const Tensor& g, Needs needs) {
                if (!by_row) return scaled(unit, g, needs);
                Gradients gradients = wanted_gradients(call.student, needs);
                visit_floating(call.dtype, [&](auto zero) {
                  using T = decltype(zero);
                  walk<T>(call, nullptr, g.data<T>().data(), gradients);
                });
                return std::array<Tensor, 3>{gradients.hidden, gradients.weight, gradients.bias};
              }});
  return by_row && rows != Shape{call.rows} ? reshape(loss, rows) : loss;
}

}  // namespace retort
