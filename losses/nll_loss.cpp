#include "retort/losses/nll_loss.hpp"

#include <algorithm>

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace detail {

void check_class_shapes(const char* caller, const Tensor& input, const Tensor& target, const Tensor& weight) {
  require_floating(caller, input);
  if (input.dim() == 0)
    throw ShapeError(message("{}: input has shape (); it must be (C) or (N, C, ...)", caller));
  require_int64(caller, "target", target);
  Shape expected = input.shape();
  expected.erase(expected.begin() + class_dim(input));
  if (target.shape() != expected)
    throw ShapeError(
        message("{}: input has shape {} but target has shape {}; class indices must have shape {}", caller,
                input.shape(), target.shape(), expected));
  if (!weight.defined()) return;
  const std::int64_t classes = input.size(class_dim(input));
  require_floating(caller, weight);
  if (weight.shape() != Shape{classes})
    throw ShapeError(
        message("{}: weight has shape {} but the input {} has {} classes; weight must have shape {}", caller,
                weight.shape(), input.shape(), classes, Shape{classes}));
}

ClassTargets class_targets(const char* caller, const Tensor& input, const Tensor& target,
                           const Tensor& weight, std::int64_t ignore_index) {
  check_class_shapes(caller, input, target, weight);
  const std::int64_t classes = input.size(class_dim(input));
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
        throw IndexError(
            message("{}: target {} at position {} is no class; the input has {} classes, numbered from 0",
                    caller, labels[i], i, classes));
      to_index[i] = ignored ? 0 : labels[i];
      to_counted[i] = !ignored;
      to_weight[i] = ignored ? T{0} : of_class ? of_class[labels[i]] : T{1};
    }
  });
  return {Tensor(std::move(index)), Tensor(std::move(weights)), Tensor(std::move(counted))};
}

}  // namespace detail

namespace {

// What both passes over the targets need.
struct Call {
  const char* operation;
  Tensor target, weight;  // weight [C] of the input's type, or undefined
  std::int64_t ignore_index;
  Reduction reduction;
  detail::Split split;  // of the input, at its classes

  // Calls visit(target's position, its element in the input, weight) for each target that counts.
  template <class T, class Visit>
  void for_each(Visit visit) const {
    const std::int64_t* labels = target.data<std::int64_t>().data();
    const T* weights = weight.defined() ? weight.data<T>().data() : nullptr;
    for (std::int64_t o = 0, i = 0; o < split.outer; ++o)
      for (std::int64_t k = 0; k < split.inner; ++k, ++i) {
        const std::int64_t label = labels[i];
        if (label == ignore_index) continue;
        if (label < 0 || label >= split.n)
          throw IndexError(
              message("{}: target {} at position {} is no class; the input has {} classes, numbered from 0",
                      operation, label, i, split.n));
        visit(i, (o * split.n + label) * split.inner + k, weights ? weights[label] : T{1});
      }
  }
};

// The definition, in ops.
Tensor reference(const Tensor& input, const Call& call) {
  const detail::ClassTargets targets =
      detail::class_targets(call.operation, input, call.target, call.weight, call.ignore_index);
  const std::int64_t dim = detail::class_dim(input);
  // An ignored target contributes nothing, whatever stands at the place that is read for it.
  const Tensor picked = input.size(dim) == 0 ? sum(input, dim, true) : gather(input, dim, targets.index);
  const Tensor terms = where(targets.counted, neg(picked) * targets.weight, 0);
  if (call.reduction == Reduction::none) return reshape(terms, call.target.shape());
  if (call.reduction == Reduction::sum) return sum(terms);
  return sum(terms) / sum(targets.weight);
}

// Writes the terms, or puts their sum (mean) into out[0]; returns what the sum was divided by.
template <class T>
double compute(const Tensor& input, const Call& call, std::span<T> out) {
  const T* x = input.data<T>().data();
  if (call.reduction == Reduction::none) {
    std::fill(out.begin(), out.end(), T{0});
    call.for_each<T>([&](std::int64_t i, std::int64_t at, T weight) {
      out[static_cast<std::size_t>(i)] = -weight * x[at];
    });
    return 1;
  }
  double total = 0;
  double weights = 0;
  call.for_each<T>([&](std::int64_t, std::int64_t at, T weight) {
    total -= static_cast<double>(weight) * static_cast<double>(x[at]);
    weights += static_cast<double>(weight);
  });
  const double divisor = call.reduction == Reduction::mean ? weights : 1;
  out[0] = static_cast<T>(total / divisor);
  return divisor;
}

template <class T>
void derive(const Call& call, std::span<const T> g, double divisor, std::span<T> dx) {
  std::fill(dx.begin(), dx.end(), T{0});
  const bool by_target = call.reduction == Reduction::none;
  call.for_each<T>([&](std::int64_t i, std::int64_t at, T weight) {
    dx[static_cast<std::size_t>(at)] =
        static_cast<T>(-static_cast<double>(weight) *
                       static_cast<double>(g[by_target ? static_cast<std::size_t>(i) : 0]) / divisor);
  });
}

}  // namespace

namespace detail {

Tensor nll_loss_as(const char* operation, const Tensor& input, const Tensor& target,
                   const NLLLossOptions& options) {
  const Reduction reduction = resolve_reduction(options.size_average, options.reduce, options.reduction);
  refuse_batchmean(operation, reduction);
  check_class_shapes(operation, input, target, options.weight);
  const Tensor weight = options.weight.defined() ? options.weight.detach().to(input.dtype()) : Tensor();
  const Call call{operation, target,
                  weight,    options.ignore_index,
                  reduction, split_at(input.shape(), static_cast<std::size_t>(class_dim(input)))};
  Array out(reduction == Reduction::none ? target.shape() : Shape{}, input.dtype());
  const double divisor = visit_floating(input.dtype(), [&](auto zero) {
    using T = decltype(zero);
    return compute<T>(input, call, out.fill<T>());
  });
  return record({.name = operation,
                 .inputs = {input},
                 .value = Tensor(std::move(out)),
                 .vjp = vjp_by_reference([call](const Tensors& x) { return reference(x[0], call); }, {input}),
                 .fast_vjp = [call, divisor, shape = input.shape()](const Tensor& g, Needs) {
                   Array dx(shape, g.dtype());
                   visit_floating(g.dtype(), [&](auto zero) {
                     using T = decltype(zero);
                     derive<T>(call, g.data<T>(), divisor, dx.fill<T>());
                   });
                   return Tensor(std::move(dx));
                 }});
}

}  // namespace detail

Tensor nll_loss(const Tensor& input, const Tensor& target, NLLLossOptions options) {
  return detail::nll_loss_as("nll_loss", input, target, options);
}

}  // namespace retort
