// Initialisation of parameters, as torch.nn.init. All functions write in place and return the tensor; draws
// come from the default generator. All throw TypeError if the tensor is int64.
#pragma once

#include <string_view>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {
namespace init {

/// Draws uniformly from [low, high).
/// Throws: ValueError if high < low or a bound is not finite in the tensor's type.
Tensor uniform_(const Tensor& tensor, double low = 0, double high = 1);
/// Draws from the normal distribution with this mean and standard deviation.
/// Throws: ValueError if std is negative, or a number is not finite.
Tensor normal_(const Tensor& tensor, double mean = 0, double std = 1);
/// Sets every element to `value`.
Tensor constant_(const Tensor& tensor, double value);
/// Sets every element to 0.
Tensor zeros_(const Tensor& tensor);
/// Sets every element to 1.
Tensor ones_(const Tensor& tensor);

/// The recommended gain of a nonlinearity: 1 for linear, sigmoid and the convolutions, 5/3 for tanh, sqrt(2)
/// for relu, sqrt(2 / (1 + param²)) for leaky_relu, 3/4 for selu.
/// Throws: ValueError if the name is unknown.
double calculate_gain(std::string_view nonlinearity, double param = 0.01);

/// Draws uniformly with variance gain² / fan (He et al., "Delving deep into rectifiers", 2015), where fan is
/// the number of inputs ("fan_in": size(1) times the receptive field) or outputs ("fan_out": size(0) times
/// the receptive field), and `a` the slope of leaky_relu. Fan 0 gives zeros.
/// Throws: ValueError if there are fewer than two dimensions or the mode is unknown.
Tensor kaiming_uniform_(const Tensor& tensor, double a = 0, std::string_view mode = "fan_in",
                        std::string_view nonlinearity = "leaky_relu");
/// As kaiming_uniform_(), with normal draws of the same variance.
Tensor kaiming_normal_(const Tensor& tensor, double a = 0, std::string_view mode = "fan_in",
                       std::string_view nonlinearity = "leaky_relu");

/// Draws uniformly with variance gain² · 2 / (fan_in + fan_out) (Glorot and Bengio, "Understanding the
/// difficulty of training deep feedforward neural networks", 2010). Edge cases and errors as above.
Tensor xavier_uniform_(const Tensor& tensor, double gain = 1);
/// As xavier_uniform_(), with normal draws of the same variance.
Tensor xavier_normal_(const Tensor& tensor, double gain = 1);

}  // namespace init
}  // namespace retort
