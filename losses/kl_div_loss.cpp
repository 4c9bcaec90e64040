#include "retort/losses/kl_div_loss.hpp"

#include <array>
#include <cmath>
#include <limits>

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/kl.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"

namespace retort {
namespace {

Reduction checked_reduction(const Tensor& input, const Tensor& target, const KLDivLossOptions& options) {
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
        message("kl_div: shape {} has no element, so there is no {}; use sum or none, or leave the "
                "empty batch out",
                input.shape(), name(reduction)));
  if (reduction == Reduction::mean)
    detail::warn_once(
        "kl_div reduction mean",
        "kl_div: reduction mean divides by the number of elements and is not the divergence; use batchmean, "
        "which divides by the batch size");
  return reduction;
}

void warn_of_positive_input(bool positive) {
  if (positive)
    detail::warn_once("kl_div input",
                      "kl_div: input must be log-probabilities: apply log_softmax (a value is above 0)");
}

// What the sum is multiplied by.
double scale_of(Reduction reduction, const Tensor& input) {
  if (reduction == Reduction::mean) return 1.0 / static_cast<double>(input.size());
  if (reduction == Reduction::batchmean && input.dim() > 0)
    return 1.0 / static_cast<double>(input.shape()[0]);
  return 1;
}

// Whether some x cannot be a log-probability. No early end: so the loop runs in vector lanes.
template <class T>
bool any_positive(std::span<const T> x) {
  bool any = false;
  for (const T value : x) any |= value > static_cast<T>(1e-5);
  return any;
}

template <class T>
Tensor value_of(const Tensor& input, const Tensor& target, bool log_target, Reduction reduction,
                double scale) {
  const T* x = input.data<T>().data();
  const T* t = target.data<T>().data();
  bool positive = false;
  Array out(reduction == Reduction::none ? input.shape() : Shape{}, input.dtype());
  if (reduction == Reduction::none) {
    kernels::kl_terms(x, t, out.fill<T>().data(), input.size(), log_target);
    positive = any_positive(input.data<T>());
  } else {
    out.fill<T>()[0] = static_cast<T>(kernels::kl_sum(x, t, input.size(), log_target, &positive) * scale);
  }
  warn_of_positive_input(positive);
  return Tensor(std::move(out));
}

// The derivatives in ops. Where the target is zero the arguments are replaced before a logarithm or an infinity can
// touch them, and the result is cut off by `where`, whose own derivative is exactly 0 there: so the term is constant
// in every order.
std::array<Tensor, 2> gradients(const Tensor& g, const Tensor& x, const Tensor& t, bool log_target,
                                Needs needs) {
  const Tensor zero = equal(t, log_target ? -std::numeric_limits<double>::infinity() : 0.0);
  const Tensor weight = where(zero, 0, log_target ? exp(where(zero, 0, t)) : t);
  std::array<Tensor, 2> result;
  if (needs[0]) result[0] = neg(g * weight);
  if (needs[1]) {
    const Tensor constant = mul(zero, 1 - isnan(x));  // NaN in x is not hidden
    const Tensor xs = where(constant, 0, x);
    const Tensor ts = where(constant, 1, t);
    const Tensor slope = log_target ? exp(ts) * (ts - xs + 1) : log(ts) - xs + 1;
    result[1] = where(constant, 0, g * slope);
  }
  return result;
}

std::array<Tensor, 2> fast_gradients(const Tensor& g, const Tensor& x, const Tensor& t, bool log_target,
                                     double scale, Needs needs) {
  std::array<Tensor, 2> result;
  for (std::size_t i = 0; i < 2; ++i)
    if (needs[i]) result[i] = empty_like(x);
  visit_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto out = [](Tensor& tensor) {
      return tensor.defined() ? tensor.mutable_array().fill<T>().data() : nullptr;
    };
    kernels::kl_backward(x.data<T>().data(), t.data<T>().data(), g.data<T>().data(), g.size(), scale,
                         out(result[0]), out(result[1]), x.size(), log_target);
  });
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
  return record(
      {.name = "kl_div",
       .inputs = {x, t},
       .value = visit_floating(
           dtype, [&](auto zero) { return value_of<decltype(zero)>(x, t, log_target, reduction, scale); }),
       .vjp = [x, t, log_target, scale](
                  const Tensor& g,
                  Needs needs) { return gradients(scale == 1 ? g : g * scale, x, t, log_target, needs); },
       .fast_vjp = [x, t, log_target, scale](
                       const Tensor& g,
                       Needs needs) { return fast_gradients(g, x, t, log_target, scale, needs); }});
}

}  // namespace retort
