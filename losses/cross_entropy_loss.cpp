#include "retort/losses/cross_entropy_loss.hpp"

#include <numeric>

#include "retort/framework/base/options.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/distillation.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"
#include "retort/losses/rows_impl.hpp"

namespace retort {
namespace {

constexpr const char* operation = "cross_entropy";
using detail::ClassRows;

Tensor weighted(const Tensor& log_probabilities, std::size_t dim, const Tensor& weight) {
  if (!weight.defined()) return log_probabilities;
  Shape along(log_probabilities.shape().size(), 1);
  along[dim] = weight.size();
  return log_probabilities * reshape(weight.to(log_probabilities.dtype()), along);
}

Tensor with_probabilities(const Tensor& input, const Tensor& target, std::size_t dim,
                          const CrossEntropyLossOptions& options, Reduction reduction) {
  if (target.shape() != input.shape())
    throw ShapeError(
        message("{}: input has shape {} but the target probabilities have shape {}; they must "
                "be equal (class indices are int64)",
                operation, input.shape(), target.shape()));
  if (options.ignore_index >= 0)
    throw ValueError(message("{}: ignore_index {} has no meaning for target probabilities; omit it",
                             operation, options.ignore_index));
  detail::check_class_weight(operation, options.weight, input.shape(), dim);
  const double smoothing = options.label_smoothing;
  const Tensor smoothed =
      smoothing > 0 ? target * (1 - smoothing) + smoothing / static_cast<double>(input.shape()[dim]) : target;
  const auto d = static_cast<Index>(dim);
  const Tensor terms = neg(sum(smoothed * weighted(log_softmax(input, d), dim, options.weight), d));
  return detail::reduce_terms(terms, reduction);
}

// The reference for class targets, in ops.
Tensor with_classes(const Tensor& input, std::size_t dim, const ClassRows& rows,
                    const CrossEntropyLossOptions& options, Reduction reduction) {
  const auto d = static_cast<Index>(dim);
  // Ignored rows may contain anything, so their values must not reach the softmax.
  const Tensor x = rows.mask.defined() ? where(unsqueeze(rows.mask, d), input, 0) : input;
  const Tensor log_probabilities = log_softmax(x, d);
  const Tensor hard = detail::nll_of_rows(log_probabilities, dim, rows, reduction);
  const double smoothing = options.label_smoothing;
  if (smoothing == 0) return hard;
  const Tensor spread = neg(sum(weighted(log_probabilities, dim, options.weight), d));
  const Tensor soft = detail::reduce_terms(detail::counted_terms(spread, rows), reduction, rows.divisor);
  return hard * (1 - smoothing) + soft * (smoothing / static_cast<double>(input.shape()[dim]));
}

// Cross-entropy is distillation without a teacher. loss, gradient and g may be null.
template <class T>
void visit_rows(const T* input, const ClassRows& rows, Index classes, T* loss, T* gradient, const T* g,
                double scale) {
  kernels::distillation_rows<T>({.rows = rows.labels.size(),
                                 .classes = classes,
                                 .alpha = 0,
                                 .student = input,
                                 .labels = detail::elements<Index>(rows.labels),
                                 .mask = detail::elements<Index>(rows.mask),
                                 .loss = loss,
                                 .student_gradient = gradient,
                                 .g = g,
                                 .scale = scale});
}

// with_classes for classes in the last dimension without smoothing, in one pass over the logits forward and
// one backward; no log-probabilities are stored.
Tensor fused_with_classes(const Tensor& input, std::size_t dim, const ClassRows& rows,
                          const CrossEntropyLossOptions& options, Reduction reduction) {
  const Index classes = input.shape()[dim];
  const bool by_row = reduction == Reduction::none;
  const double divisor = reduction == Reduction::mean ? rows.divisor : 1;
  double total = 0;
  const Tensor terms = compute(
      rows.labels.shape(), input.dtype(),
      [&]<class T>(T* loss, const T* x, const T* weight) {
        const Index count = rows.labels.size();
        visit_rows<T>(x, rows, classes, loss, nullptr, nullptr, 1);
        for (Index i = 0; weight != nullptr && i < count; ++i) loss[i] *= weight[i];
        if (!by_row) total = std::accumulate(loss, loss + count, 0.0);
      },
      input, rows.weight);
  const auto definition = [rows, dim, options, reduction](const Tensors& x) {
    return with_classes(x[0], dim, rows, options, reduction);
  };
  return record({.name = operation,
                 .inputs = {input},
                 .value = by_row ? terms : full({}, total / divisor, input.dtype()),
                 .vjp = vjp_by_reference(definition, {input}),
                 .fast_vjp = [input, rows, classes, by_row, divisor](const Tensor& g, Needs) {
                   const Tensor upstream =
                       by_row ? (rows.weight.defined() ? g * rows.weight : g) : rows.weight;
                   const double scale = by_row ? 1 : g.item<double>() / divisor;
                   return compute(
                       input.shape(), input.dtype(),
                       [&]<class T>(T* dx, const T* x, const T* of_row) {
                         visit_rows<T>(x, rows, classes, nullptr, dx, of_row, scale);
                       },
                       input, upstream);
                 }});
}

}  // namespace

void CrossEntropyLossOptions::check() const {
  (void)detail::checked_reduction(operation, *this);
  detail::require_from_0_to_1(operation, "label_smoothing", label_smoothing);
  if (weight.defined()) detail::require_floating(operation, "weight", weight);
}

Tensor cross_entropy(const Tensor& input, const Tensor& target, CrossEntropyLossOptions options) {
  options.check();
  const Reduction reduction = detail::checked_reduction(operation, options);
  detail::require_floating(operation, "input", input);
  detail::require_defined(operation, "target", target);
  const std::size_t dim = detail::class_dim(operation, input);
  if (is_floating_point(target.dtype())) return with_probabilities(input, target, dim, options, reduction);
  const ClassRows rows =
      detail::prepare_rows(operation, input.shape(), input.dtype(), dim, target,
                           {.weight = options.weight, .ignore_index = options.ignore_index});
  if (options.label_smoothing == 0 && input.dim() <= 2 && input.size() > 0)
    return fused_with_classes(input, dim, rows, options, reduction);
  return with_classes(input, dim, rows, options, reduction);
}

}  // namespace retort
