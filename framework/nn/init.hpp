// Initial values of parameters: torch.nn.init. All write in place and return the tensor; draws come from the
// default generator of manual_seed. TypeError for int64.
#pragma once

#include <string_view>

#include "retort/framework/core/factories.hpp"

namespace retort::init {

/// Uniform in [low, high). ValueError for high < low or bounds that are not finite.
Tensor uniform_(const Tensor& tensor, double low = 0, double high = 1);
/// Normal with that mean and standard deviation. ValueError for a negative one and for
/// numbers that are not finite.
Tensor normal_(const Tensor& tensor, double mean = 0, double std = 1);
Tensor constant_(const Tensor& tensor, double value);
Tensor zeros_(const Tensor& tensor);
Tensor ones_(const Tensor& tensor);

/// The factor by which a nonlinearity's layer is scaled: linear, sigmoid and the convolutions 1, tanh 5/3,
/// relu sqrt(2), leaky_relu sqrt(2 / (1 + param²)), selu 3/4. ValueError for another name.
double calculate_gain(std::string_view nonlinearity, double param = 0.01);

/// He, Zhang, Ren and Sun, "Delving deep into rectifiers" (2015): variance gain² / fan, where fan is that of
/// the inputs ("fan_in": size(1) times the receptive field) or outputs ("fan_out": size(0) times it), and `a`
/// the slope of leaky_relu. ValueError for fewer than two dimensions or an unknown mode. Fan 0 gives zeros.
Tensor kaiming_uniform_(const Tensor& tensor, double a = 0, std::string_view mode = "fan_in",
                        std::string_view nonlinearity = "leaky_relu");
Tensor kaiming_normal_(const Tensor& tensor, double a = 0, std::string_view mode = "fan_in",
                       std::string_view nonlinearity = "leaky_relu");

/// Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010):
/// variance gain² · 2 / (fan_in + fan_out). Edges as above.
Tensor xavier_uniform_(const Tensor& tensor, double gain = 1);
Tensor xavier_normal_(const Tensor& tensor, double gain = 1);

}  // namespace retort::init
