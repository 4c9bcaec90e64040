// Normalisation.
#pragma once

#include <cstdint>

#include "retort/framework/core/tensor.hpp"

namespace retort {

/// y = (x - mean) / sqrt(var + eps) · weight + bias, mean and biased variance over the last dimensions, which
/// `normalized_shape` names; weight and bias have that shape, or are undefined. (Ba, Kiros and Hinton, 2016)
/// ShapeError when x does not end in normalized_shape.
[[nodiscard]] Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight = {},
                                const Tensor& bias = {}, double eps = 1e-5);

struct BatchNormFunctionalOptions {
  bool training = false;  ///< normalise by the batch's own statistics and update the running ones
  double momentum = 0.1;  ///< running = (1 - momentum)·running + momentum·batch
  double eps = 1e-5;
};

/// y = (x - mean) / sqrt(var + eps) · weight + bias for x [N, C, …], mean and variance by channel [C]. In training they
/// are the batch's (biased variance), and running_mean and running_var, where defined, are updated in place (unbiased
/// variance); otherwise they are the running ones. (Ioffe and Szegedy, 2015)
/// ValueError in training for one value a channel, or outside it without running statistics.
[[nodiscard]] Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                                const Tensor& weight = {}, const Tensor& bias = {},
                                BatchNormFunctionalOptions options = {});

}  // namespace retort
