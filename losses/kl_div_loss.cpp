#include "retort/losses/kl_div_loss.hpp"

#include <array>
#include <limits>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/kl.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/losses/rows_impl.hpp"

namespace retort {
namespace {

Reduction checked_reduction(const Tensor& input, const Tensor& target, const KLDivLossOptions& options) {
  detail::require_defined("kl_div", "input", input);
  detail::require_defined("kl_div", "target", target);
  if (!is_floating_point(input.dtype()) || !is_floating_point(target.dtype()))
    throw TypeError(
        message("kl_div: input is {} and target {}; both must be float32 or float64 (class indices "
                "belong to nll_loss)",
                input.dtype(), target.dtype()));
  if (input.shape() != target.shape())
    throw ShapeError(message("kl_div: input has shape {} but target has shape {}; they must be equal",
                             input.shape(), target.shape()));
  const Reduction reduction =
      detail::resolve_reduction(options.size_average, options.reduce, options.reduction);
  if (input.size() == 0 && (reduction == Reduction::mean || reduction == Reduction::batchmean))
    throw ValueError(
        message("kl_div: shape {} has no element, so there is no {}; use sum or none, or skip the "
                "empty batch",
                input.shape(), name(reduction)));
  if (reduction == Reduction::mean)
    detail::warn_once(
        "kl_div reduction mean",
        "kl_div: reduction mean divides by the number of elements and is not the divergence; use batchmean, "
        "which divides by the batch size");
  return reduction;
}

// The factor of the sum.
double scale_of(Reduction reduction, const Tensor& input) {
  if (reduction == Reduction::mean) return 1.0 / static_cast<double>(input.size());
  if (reduction == Reduction::batchmean && input.dim() > 0)
    return 1.0 / static_cast<double>(input.shape()[0]);
  return 1;
}

Tensor value_of(const Tensor& input, const Tensor& target, bool log_target, Reduction reduction,
                double scale) {
  const Index n = input.size();
  bool positive = false;
  const bool by_element = reduction == Reduction::none;
  Tensor value = compute(
      by_element ? input.shape() : Shape{}, input.dtype(),
      [&]<class T>(T* out, const T* x, const T* t) {
        if (!by_element) {
          out[0] = static_cast<T>(kernels::kl_sum(x, t, n, log_target, &positive) * scale);
          return;
        }
        kernels::kl_terms(x, t, out, n, log_target);
        bool any = false;  // without an early exit the loop is vectorised
        for (Index i = 0; i < n; ++i) any |= x[i] > static_cast<T>(1e-5);
        positive = any;
      },
      input, target);
  if (positive)
    detail::warn_once("kl_div input",
                      "kl_div: input must be log-probabilities: apply log_softmax (a value is above 0)");
  return value;
}

// The derivatives in ops. Where the target is zero, the arguments are replaced before a logarithm or an
// infinity can affect them, and `where` selects the result: its derivative is exactly 0 there, so that the
// term is constant in every order, whatever the upstream gradient.
std::array<Tensor, 2> gradients(const Tensor& g, const Tensor& x, const Tensor& t, bool log_target,
                                Needs needs) {
  const Tensor zero = equal(t, log_target ? -std::numeric_limits<double>::infinity() : 0.0);
  std::array<Tensor, 2> result;
  if (needs[0]) {
    const Tensor safe = where(zero, 0, t);
    result[0] = where(zero, 0, neg(g * (log_target ? exp(safe) : safe)));
  }
  if (needs[1]) {
    const Tensor constant = mul(zero, 1 - isnan(x));  // NaN in x propagates
    const Tensor xs = where(constant, 0, x);
    const Tensor ts = where(constant, 1, t);
    result[1] = where(constant, 0, log_target ? g * exp(ts) * (ts - xs + 1) : g * (log(ts) + 1 - xs));
  }
  return result;
}

std::array<Tensor, 2> fast_gradients(const Tensor& g, const Tensor& x, const Tensor& t, bool log_target,
                                     double scale, Needs needs) {
  std::array<Tensor, 2> result;
  for (std::size_t i = 0; i < 2; ++i)
    if (needs[i]) result[i] = empty_like(x);
  compute_into(
      x.dtype(),
      [&](auto* dx, auto* dt, auto* xs, auto* ts, auto* gs) {
        kernels::kl_backward(xs, ts, gs, g.size(), scale, dx, dt, x.size(), log_target);
      },
      writable(result[0]), writable(result[1]), x, t, g);
  return result;
}

}  // namespace

Tensor kl_div(const Tensor& input, const Tensor& target, KLDivLossOptions options) {
  const Reduction reduction = checked_reduction(input, target, options);
  const DType dtype = promote(input.dtype(), target.dtype());
  const Tensor x = input.to(dtype);
  const Tensor t = target.to(dtype);
  const double scale = scale_of(reduction, x);
  const bool log_target = options.log_target;
  return record({.name = "kl_div",
                 .inputs = {x, t},
                 .value = value_of(x, t, log_target, reduction, scale),
                 .vjp =
                     [x, t, log_target, scale](const Tensor& g, Needs needs) {
                       return gradients(scale == 1 ? g : g * scale, x, t, log_target, needs);
                     },
                 .fast_vjp = [x, t, log_target, scale](
                                 const Tensor& g,
                                 Needs needs) { return fast_gradients(g, x, t, log_target, scale, needs); }});
}

}  // namespace retort
