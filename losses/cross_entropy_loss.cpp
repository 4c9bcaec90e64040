#include "retort/losses/cross_entropy_loss.hpp"

#include "retort/framework/core/error.hpp"
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
    throw ValueError(message("cross_entropy: ignore_index ", options.ignore_index,
                             " has no meaning for target probabilities; leave it out"));
  if (input.dim() == 0) throw ShapeError("cross_entropy: input has shape (); it must be (C) or (N, C, ...)");
  const std::int64_t dim = detail::class_dim(input);
  const std::int64_t classes = input.size(dim);
  if (options.weight.defined() && options.weight.shape() != Shape{classes})
    throw ShapeError(message("cross_entropy: weight has shape ", options.weight.shape(), " but the input ",
                             input.shape(), " has ", classes, " classes; weight must have shape ",
                             Shape{classes}));
  const double smoothing = options.label_smoothing;
  const Tensor smoothed =
      smoothing > 0 ? target * (1 - smoothing) + smoothing / static_cast<double>(classes) : target;
  const Tensor terms = neg(sum(smoothed * weighted(log_softmax(input, dim), options.weight), dim));
  return detail::reduce_terms(terms, reduction);
}

Tensor with_classes(const Tensor& input, const Tensor& target, const CrossEntropyLossOptions& options,
                    Reduction reduction) {
  const double smoothing = options.label_smoothing;
  const NLLLossOptions nll{
      .weight = options.weight, .ignore_index = options.ignore_index, .reduction = reduction};
  detail::check_class_shapes("cross_entropy", input, target, options.weight);
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
    throw ValueError(message("cross_entropy: label_smoothing is ", options.label_smoothing,
                             "; it must be between 0 and 1"));
  if (!is_floating_point(target.dtype())) return with_classes(input, target, options, reduction);
  if (target.shape() != input.shape())
    throw ShapeError(message("cross_entropy: input has shape ", input.shape(),
                             " but the target probabilities have shape ", target.shape(),
                             "; they must be equal (class indices are int64)"));
  return with_probabilities(input, target, options, reduction);
}

}  // namespace retort
