#include "retort/framework/nn/init.hpp"

#include <algorithm>
#include <cmath>

#include "retort/framework/base/draws.hpp"
#include "retort/framework/base/options.hpp"

namespace retort::init {
namespace {

/// Calls f(span of the elements).
template <class F>
Tensor write(const char* name, const Tensor& tensor, F f) {
  if (!is_floating_point(tensor.dtype()))
    throw TypeError(
        message("{}: initial values are floating-point but the tensor is {}", name, tensor.dtype()));
  visit_floating(tensor.dtype(), [&](auto zero) { f(tensor.mutable_data<decltype(zero)>()); });
  return tensor;
}

/// Reserves one draw per element.
Generator draws_for(const Tensor& tensor) {
  return detail::take_from_default(detail::blocks_for(tensor.size(), tensor.dtype()));
}

struct Fans {
  double in, out;
};

Fans fans(const char* name, const Tensor& tensor) {
  if (tensor.dim() < 2)
    throw ValueError(
        message("{}: shape {} has no inputs and outputs; it needs two dimensions", name, tensor.shape()));
  double field = 1;
  for (std::int64_t d = 2; d < tensor.dim(); ++d) field *= static_cast<double>(tensor.size(d));
  return {static_cast<double>(tensor.size(1)) * field, static_cast<double>(tensor.size(0)) * field};
}

double kaiming_std(const char* name, const Tensor& tensor, double a, std::string_view mode,
                   std::string_view nonlinearity) {
  if (mode != "fan_in" && mode != "fan_out")
    throw ValueError(message("{}: mode is fan_in or fan_out, not '{}'", name, mode));
  const Fans found = fans(name, tensor);
  const double fan = mode == "fan_in" ? found.in : found.out;
  return fan > 0 ? calculate_gain(nonlinearity, a) / std::sqrt(fan) : 0;
}

double xavier_std(const char* name, const Tensor& tensor, double gain) {
  const Fans found = fans(name, tensor);
  return found.in + found.out > 0 ? gain * std::sqrt(2 / (found.in + found.out)) : 0;
}

/// Uniform around 0 with the given standard deviation.
Tensor uniform_of_std(const Tensor& tensor, double std) {
  const double bound = std::sqrt(3.0) * std;
  return uniform_(tensor, -bound, bound);
}

}  // namespace

Tensor uniform_(const Tensor& tensor, double low, double high) {
  if (!(low <= high) || !std::isfinite(low) || !std::isfinite(high))
    throw ValueError(message("uniform_: the interval from {} to {} is empty or not finite", low, high));
  return write("uniform_", tensor, [&](auto values) {
    using T = typename decltype(values)::value_type;
    if (!std::isfinite(static_cast<T>(low)) || !std::isfinite(static_cast<T>(high)))
      throw ValueError(message("uniform_: the interval from {} to {} is beyond the range of {}", low, high,
                               tensor.dtype()));
    detail::fill_uniform(values, draws_for(tensor), low, high);
  });
}

Tensor normal_(const Tensor& tensor, double mean, double std) {
  detail::require_finite("normal_", "the mean", mean);
  detail::require_at_least_0("normal_", "the standard deviation", std);
  return write("normal_", tensor, [&](auto values) {
    detail::fill_normal(values, draws_for(tensor));
    using T = typename decltype(values)::value_type;
    for (T& value : values) value = static_cast<T>(mean) + static_cast<T>(std) * value;
  });
}

Tensor constant_(const Tensor& tensor, double value) {
  return write("constant_", tensor, [&](auto values) {
    std::ranges::fill(values, static_cast<typename decltype(values)::value_type>(value));
  });
}

Tensor zeros_(const Tensor& tensor) { return constant_(tensor, 0); }
Tensor ones_(const Tensor& tensor) { return constant_(tensor, 1); }

double calculate_gain(std::string_view nonlinearity, double param) {
  for (const std::string_view name : {"linear", "conv1d", "conv2d", "conv3d", "sigmoid"})
    if (nonlinearity == name) return 1;
  if (nonlinearity == "tanh") return 5.0 / 3;
  if (nonlinearity == "relu") return std::sqrt(2.0);
  if (nonlinearity == "leaky_relu") return std::sqrt(2 / (1 + param * param));
  if (nonlinearity == "selu") return 0.75;
  throw ValueError(message(
      "init: unknown nonlinearity '{}'; give linear, conv1d, conv2d, conv3d, sigmoid, tanh, relu, leaky_relu "
      "or selu",
      nonlinearity));
}

Tensor kaiming_uniform_(const Tensor& tensor, double a, std::string_view mode,
                        std::string_view nonlinearity) {
  return uniform_of_std(tensor, kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity));
}

Tensor kaiming_normal_(const Tensor& tensor, double a, std::string_view mode, std::string_view nonlinearity) {
  return normal_(tensor, 0, kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity));
}

Tensor xavier_uniform_(const Tensor& tensor, double gain) {
  return uniform_of_std(tensor, xavier_std("xavier_uniform_", tensor, gain));
}

Tensor xavier_normal_(const Tensor& tensor, double gain) {
  return normal_(tensor, 0, xavier_std("xavier_normal_", tensor, gain));
}

}  // namespace retort::init
