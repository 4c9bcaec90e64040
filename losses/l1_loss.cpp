#include "retort/losses/l1_loss.hpp"

#include "retort/framework/base/options.hpp"
#include "retort/framework/fused.hpp"
#include "retort/losses/rows_impl.hpp"

namespace retort {
namespace {

// The second derivative of |x - t| is 0, also at x = t: as in abs(), comparisons select the sign.
struct AbsoluteError {
  auto operator()(const auto& x, const auto& t) const { return abs(x - t); }
};

struct SmoothError {
  auto operator()(const auto& x, const auto& t) const {
    const auto d = abs(x - t);
    return where(d < beta, 0.5 / beta * (d * d), d - 0.5 * beta);
  }
  double beta;
};

struct HuberError {
  auto operator()(const auto& x, const auto& t) const {
    const auto d = abs(x - t);
    return where(d <= delta, 0.5 * (d * d), delta * (d - 0.5 * delta));
  }
  double delta;
};

}  // namespace

void L1LossOptions::check() const { (void)detail::checked_reduction("l1_loss", *this); }

void SmoothL1LossOptions::check() const {
  (void)detail::checked_reduction("smooth_l1_loss", *this);
  detail::require_at_least_0("smooth_l1_loss", "beta", beta);
}

void HuberLossOptions::check() const {
  (void)detail::checked_reduction("huber_loss", *this);
  detail::require_option(delta > 0, "huber_loss", "delta", delta, "greater than 0");
}

Tensor l1_loss(const Tensor& input, const Tensor& target, L1LossOptions options) {
  const Reduction reduction = detail::prepare_terms("l1_loss", input, target, options);
  return detail::reduce_terms(fused("l1_loss", AbsoluteError(), input, target), reduction);
}

Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, SmoothL1LossOptions options) {
  const Reduction reduction = detail::prepare_terms("smooth_l1_loss", input, target, options);
  const Tensor terms = options.beta == 0 ? fused("smooth_l1_loss", AbsoluteError(), input, target)
                                         : fused("smooth_l1_loss", SmoothError{options.beta}, input, target);
  return detail::reduce_terms(terms, reduction);
}

Tensor huber_loss(const Tensor& input, const Tensor& target, HuberLossOptions options) {
  const Reduction reduction = detail::prepare_terms("huber_loss", input, target, options);
  return detail::reduce_terms(fused("huber_loss", HuberError{options.delta}, input, target), reduction);
}

}  // namespace retort
