#include "retort/losses/cross_entropy_loss.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/distillation.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"
#include "retort/losses/nll_loss.hpp"

namespace retort {
namespace {

// Class weights in a shape that broadcasts along the class dimension.
Tensor spread_weight(const Tensor& weight, const Tensor& input) {
  Shape shape(input.shape().size(), 1);
  shape[static_cast<std::size_t>(detail::class_dim(input))] = weight.size();
  return reshape(weight.to(input.dtype()), shape);
}

Tensor weighted(const Tensor& log_probabilities, const Tensor& weight) {
  return weight.defined() ? log_probabilities * spread_weight(weight, log_probabilities) : log_probabilities;
}

Tensor with_probabilities(const Tensor& input, const Tensor& target, const CrossEntropyLossOptions& options,
                          Reduction reduction) {
  if (options.ignore_index >= 0)
    throw ValueError(
        message("cross_entropy: ignore_index {} has no meaning for target probabilities; leave it out",
                options.ignore_index));
  if (input.dim() == 0) throw ShapeError("cross_entropy: input has shape (); it must be (C) or (N, C, ...)");
  const std::int64_t dim = detail::class_dim(input);
  const std::int64_t classes = input.size(dim);
  if (options.weight.defined() && options.weight.shape() != Shape{classes})
    throw ShapeError(
        message("cross_entropy: weight has shape {} but the input {} has {} classes; weight must "
                "have shape {}",
                options.weight.shape(), input.shape(), classes, Shape{classes}));
  const double smoothing = options.label_smoothing;
  const Tensor smoothed =
      smoothing > 0 ? target * (1 - smoothing) + smoothing / static_cast<double>(classes) : target;
  const Tensor terms = neg(sum(smoothed * weighted(log_softmax(input, dim), options.weight), dim));
  return detail::reduce_terms(terms, reduction);
}

// Class targets of an input whose classes stand in its last dimension, as the kernel takes them.
struct Rows {
  Tensor labels, mask;  // int64 [N]; the mask undefined where no target is ignored
  Tensor weight;        // of each target [N], 0 where it is ignored; undefined for 1
  double divisor = 1;   // what the sum is divided by
};

template <class T>
Rows prepare(const Tensor& input, const Tensor& target, const CrossEntropyLossOptions& options,
             Reduction reduction) {
  const std::int64_t classes = input.size(-1);
  const std::span<const std::int64_t> labels = target.data<std::int64_t>();
  const auto ignored = [&](std::int64_t label) { return label == options.ignore_index; };
  std::int64_t counted = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if ((labels[i] < 0 || labels[i] >= classes) && !ignored(labels[i]))
      throw IndexError(
          message("cross_entropy: target {} at position {} is no class; the input has {} classes, "
                  "numbered from 0",
                  labels[i], i, classes));
    counted += !ignored(labels[i]);
  }
  const Shape rows{target.size()};
  Rows made{target, {}, {}, static_cast<double>(counted)};
  if (counted < target.size()) {
    made.mask = empty(rows, DType::int64);
    std::transform(labels.begin(), labels.end(), made.mask.mutable_array().fill<std::int64_t>().begin(),
                   [&](std::int64_t label) { return !ignored(label); });
  }
  if (options.weight.defined()) {
    const Tensor class_weight = options.weight.detach().to(input.dtype());
    const std::span<const T> of_class = class_weight.data<T>();
    made.weight = empty(rows, input.dtype());
    const std::span<T> weights = made.weight.mutable_array().fill<T>();
    std::transform(labels.begin(), labels.end(), weights.begin(), [&](std::int64_t label) {
      return ignored(label) ? T{0} : of_class[static_cast<std::size_t>(label)];
    });
    made.divisor = std::accumulate(weights.begin(), weights.end(), 0.0);
  }
  if (reduction != Reduction::mean) made.divisor = 1;
  return made;
}

// Losses of the rows where asked for, and with `gradient` [N, C] that of sum(g·loss), g [N] or null for 1, times scale.
template <class T>
void visit_rows(const Tensor& input, const Rows& rows, T* losses, T* gradient = nullptr, const T* g = nullptr,
                double scale = 1) {
  kernels::distillation_rows<T>(
      {.rows = rows.labels.size(),
       .classes = input.size(-1),
       .alpha = 0,
       .student = input.data<T>().data(),
       .labels = rows.labels.data<std::int64_t>().data(),
       .mask = rows.mask.defined() ? rows.mask.data<std::int64_t>().data() : nullptr,
       .loss = losses,
       .student_gradient = gradient,
       .g = g,
       .scale = scale});
}

template <class T>
Tensor value_of(const Tensor& input, const Rows& rows, const Shape& shape, Reduction reduction) {
  const Tensor terms = empty(shape, input.dtype());
  const std::span<T> values = terms.mutable_array().fill<T>();
  visit_rows<T>(input, rows, values.data());
  if (rows.weight.defined())
    std::transform(values.begin(), values.end(), rows.weight.data<T>().begin(), values.begin(),
                   std::multiplies<T>());
  if (reduction == Reduction::none) return terms;
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return full({}, sum / rows.divisor, input.dtype());
}

template <class T>
Tensor gradient_of(const Tensor& input, const Rows& rows, const Tensor& g, Reduction reduction) {
  const Tensor gradient = empty_like(input);
  T* const out = gradient.mutable_array().fill<T>().data();
  if (reduction == Reduction::none) {
    const Tensor of_rows = rows.weight.defined() ? reshape(g, rows.weight.shape()) * rows.weight : g;
    visit_rows<T>(input, rows, nullptr, out, of_rows.data<T>().data());
  } else {
    visit_rows<T>(input, rows, nullptr, out, rows.weight.defined() ? rows.weight.data<T>().data() : nullptr,
                  g.item<double>() / rows.divisor);
  }
  return gradient;
}

// In one visit of the logits each way: no log-probabilities are written.
Tensor fused_with_classes(const Tensor& input, const Tensor& target, const CrossEntropyLossOptions& options,
                          Reduction reduction) {
  return visit_floating(input.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const Rows rows = prepare<T>(input, target, options, reduction);
    const NLLLossOptions nll{
        .weight = options.weight, .ignore_index = options.ignore_index, .reduction = reduction};
    return record({.name = "cross_entropy",
                   .inputs = {input},
                   .value = value_of<T>(input, rows, target.shape(), reduction),
                   .vjp = vjp_by_reference(
                       [target, nll](const Tensors& x) {
                         return detail::nll_loss_as("cross_entropy", log_softmax(x[0], -1), target, nll);
                       },
                       {input}),
                   .fast_vjp = [input, rows, reduction](const Tensor& g, Needs) {
                     return gradient_of<T>(input, rows, g, reduction);
                   }});
  });
}

Tensor with_classes(const Tensor& input, const Tensor& target, const CrossEntropyLossOptions& options,
                    Reduction reduction) {
  const double smoothing = options.label_smoothing;
  detail::check_class_shapes("cross_entropy", input, target, options.weight);
  if (smoothing == 0 && input.dim() <= 2 && input.size() > 0)
    return fused_with_classes(input, target, options, reduction);
  const NLLLossOptions nll{
      .weight = options.weight, .ignore_index = options.ignore_index, .reduction = reduction};
  const std::int64_t dim = detail::class_dim(input);
  const Tensor log_probabilities = log_softmax(input, dim);
  const Tensor hard = detail::nll_loss_as("cross_entropy", log_probabilities, target, nll);
  if (smoothing == 0) return hard;
  const detail::ClassTargets targets =
      detail::class_targets("cross_entropy", input, target, options.weight, options.ignore_index);
  // Both parts of a mean are divided by the same sum of weights.
  const Tensor spread =
      where(targets.counted, neg(sum(weighted(log_probabilities, options.weight), dim, true)), 0);
  Tensor soft;
  if (reduction == Reduction::none) {
    soft = reshape(spread, target.shape());
  } else {
    soft = reduction == Reduction::sum ? sum(spread) : sum(spread) / sum(targets.weight);
  }
  return hard * (1 - smoothing) + soft * (smoothing / static_cast<double>(input.size(dim)));
}

}  // namespace

Tensor cross_entropy(const Tensor& input, const Tensor& target, CrossEntropyLossOptions options) {
  const Reduction reduction =
      detail::resolve_reduction(options.size_average, options.reduce, options.reduction);
  detail::refuse_batchmean("cross_entropy", reduction);
  detail::require_floating("cross_entropy", input);
  if (!(options.label_smoothing >= 0 && options.label_smoothing <= 1))
    throw ValueError(
        message("cross_entropy: label_smoothing is {}; it must be between 0 and 1", options.label_smoothing));
  if (!is_floating_point(target.dtype())) return with_classes(input, target, options, reduction);
  if (target.shape() != input.shape())
    throw ShapeError(
        message("cross_entropy: input has shape {} but the target probabilities have shape {}; they "
                "must be equal (class indices are int64)",
                input.shape(), target.shape()));
  return with_probabilities(input, target, options, reduction);
}

}  // namespace retort
