#include "retort/losses/bce_loss.hpp"

#include "retort/framework/fused.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/losses/rows_impl.hpp"

namespace retort {
namespace {

// softplus(-x) = max(-x, 0) + log1p(exp(-|x|)). |x| and the maximum share one comparison, so that the
// derivatives at x = 0 are those of softplus in every order. The value is computed in PyTorch's order, with
// softplus(x) = x + softplus(-x), and rounds as PyTorch's. For x < 0 these terms cancel; the derivatives
// (arguments are dual numbers) therefore use a form without cancellation.
struct WeightedTerm {
  template <class X>
  auto operator()(const X& x, const auto& t, const auto& weight) const {
    const auto positive = x >= 0;
    const auto tail = log1p(exp(where(positive, -x, x)));
    const auto of_minus_x = tail + where(positive, 0, -x);
    if constexpr (requires { x.depends_on(0); })
      return weight * t * of_minus_x + (1 - t) * (tail + where(positive, x, 0));
    else
      return (1 - t) * x + (1 + (weight - 1) * t) * of_minus_x;
  }
};
struct Term {
  auto operator()(const auto& x, const auto& t) const { return WeightedTerm()(x, t, 1.0); }
};

void require_broadcast(const char* what, const Tensor& weight, const Shape& shape) {
  bool fits = weight.dim() <= static_cast<Index>(shape.size());
  for (Index d = 1; fits && d <= weight.dim(); ++d)
    fits = weight.size(-d) == 1 || weight.size(-d) == shape[shape.size() - static_cast<std::size_t>(d)];
  if (!fits)
    throw ShapeError(
        message("binary_cross_entropy_with_logits: {} of shape {} does not broadcast to the input's shape {}",
                what, weight.shape(), shape));
}

}  // namespace

void BCEWithLogitsLossOptions::check() const {
  const char* const name = "binary_cross_entropy_with_logits";
  (void)detail::checked_reduction(name, *this);
  if (weight.defined()) detail::require_floating(name, "weight", weight);
  if (pos_weight.defined()) detail::require_floating(name, "pos_weight", pos_weight);
}

Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target,
                                        BCEWithLogitsLossOptions options) {
  const char* const name = "binary_cross_entropy_with_logits";
  const Reduction reduction = detail::prepare_terms(name, input, target, options);
  const auto& [weight, size_average, reduce, given, pos_weight] = options;
  if (weight.defined()) require_broadcast("weight", weight, input.shape());
  if (pos_weight.defined()) require_broadcast("pos_weight", pos_weight, input.shape());
  const Tensor terms = pos_weight.defined() ? fused(name, WeightedTerm(), input, target, pos_weight)
                                            : fused(name, Term(), input, target);
  return detail::reduce_terms(weight.defined() ? terms * weight : terms, reduction);
}

}  // namespace retort
