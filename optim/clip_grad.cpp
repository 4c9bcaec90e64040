#include "retort/optim/clip_grad.hpp"

#include <algorithm>
#include <cmath>

#include "retort/framework/kernels/optimizer_updates.hpp"
#include "retort/framework/kernels/reduce.hpp"

namespace retort {
namespace {

/// Calls f(zero of the element type, gradient) for each defined gradient.
template <class F>
void for_each_gradient(const Tensors& parameters, F f) {
  for (const Tensor& parameter : parameters) {
    const Tensor gradient = parameter.grad();
    if (gradient.defined()) visit_floating(gradient.dtype(), [&](auto zero) { f(zero, gradient); });
  }
}

}  // namespace

double clip_grad_norm(const Tensors& parameters, double max_norm, double norm_type) {
  if (!(max_norm >= 0))
    throw ValueError(message("clip_grad_norm: max_norm is {}; it must be at least 0", max_norm));
  if (!(norm_type > 0))
    throw ValueError(message("clip_grad_norm: norm_type is {}; it must be positive or infinity", norm_type));
  const bool is_maximum = std::isinf(norm_type);
  double sum = 0;
  for_each_gradient(parameters, [&]<class T>(T, const Tensor& gradient) {
    const double part = kernels::power_sum<T>(gradient.data<T>().data(), gradient.size(), norm_type);
    // A NaN on either side propagates.
    if (!is_maximum)
      sum += part;
    else if (part > sum || std::isnan(part))
      sum = part;
  });
  const double norm = is_maximum ? sum : norm_type == 2 ? std::sqrt(sum) : std::pow(sum, 1 / norm_type);
  const double factor =
      std::min(max_norm / (norm + 1e-6), 1.0);  // NaN propagates: min then returns its first argument
  if (factor != 1)
    for_each_gradient(parameters, [&]<class T>(T, const Tensor& gradient) {
      kernels::scale_in_place<T>(gradient.mutable_data<T>().data(), gradient.size(), factor);
    });
  return norm;
}

void clip_grad_value(const Tensors& parameters, double clip_value) {
  if (!(clip_value >= 0))
    throw ValueError(message("clip_grad_value: clip_value is {}; it must be at least 0", clip_value));
  for_each_gradient(parameters, [&]<class T>(T, const Tensor& gradient) {
    kernels::clamp_in_place<T>(gradient.mutable_data<T>().data(), gradient.size(), clip_value);
  });
}

}  // namespace retort
