#include "retort/losses/nll_loss.hpp"

#include "retort/framework/core/error.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace detail {

ClassTargets class_targets(const char* operation, const Tensor& input, const Tensor& target, const Tensor& weight,
                           std::int64_t ignore_index) {
  require_floating(operation, input);
  if (input.dim() == 0) throw ShapeError(message(operation, ": input has shape (); it must be (C) or (N, C, ...)"));
  require_int64(operation, "target", target);
  Shape expected = input.shape();
  expected.erase(expected.begin() + class_dim(input));
  if (target.shape() != expected)
    throw ShapeError(message(operation, ": input has shape ", input.shape(), " but target has shape ", target.shape(),
                             "; class indices must have shape ", expected));
  const std::int64_t classes = input.size(class_dim(input));
  if (weight.defined()) {
    require_floating(operation, weight);
    if (weight.shape() != Shape{classes})
      throw ShapeError(message(operation, ": weight has shape ", weight.shape(), " but the input ", input.shape(), " has ",
                               classes, " classes; weight must have shape ", Shape{classes}));
  }
  Shape shape = input.shape();
  shape[static_cast<std::size_t>(class_dim(input))] = 1;
  const auto labels = target.data<std::int64_t>();
  Array index(shape, DType::int64);
  Array counted(shape, DType::int64);
  Array weights(shape, input.dtype());
  const Tensor class_weights = weight.defined() ? weight.detach().to(input.dtype()) : Tensor();
  visit_floating(input.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* of_class = class_weights.defined() ? class_weights.data<T>().data() : nullptr;
    const auto to_index = index.fill<std::int64_t>();
    const auto to_counted = counted.fill<std::int64_t>();
    const auto to_weight = weights.fill<T>();
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const bool ignored = labels[i] == ignore_index;
      if (!ignored && (labels[i] < 0 || labels[i] >= classes))
        throw IndexError(message(operation, ": target ", labels[i], " at position ", i, " is no class; the input has ", classes,
                                 " classes, numbered from 0"));
      to_index[i] = ignored ? 0 : labels[i];
      to_counted[i] = !ignored;
      to_weight[i] = ignored ? T{0} : of_class ? of_class[labels[i]] : T{1};
    }
  });
  return {Tensor(std::move(index)), Tensor(std::move(weights)), Tensor(std::move(counted))};
}

}  // namespace detail

Tensor nll_loss(const Tensor& input, const Tensor& target, NLLLossOptions options) {
  const Reduction reduction = detail::resolve_reduction(options.size_average, options.reduce, options.reduction);
  detail::refuse_batchmean("nll_loss", reduction);
  const detail::ClassTargets targets =
      detail::class_targets("nll_loss", input, target, options.weight, options.ignore_index);
  const std::int64_t dim = detail::class_dim(input);
  // An ignored target contributes nothing, whatever stands at the place that is read for it.
  const Tensor picked = input.size(dim) == 0 ? sum(input, dim, true) : gather(input, dim, targets.index);
  const Tensor terms = where(targets.counted, neg(picked) * targets.weight, 0);
  if (reduction == Reduction::none) return reshape(terms, target.shape());
  if (reduction == Reduction::sum) return sum(terms);
  return sum(terms) / sum(targets.weight);
}

}  // namespace retort
