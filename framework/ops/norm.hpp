// Normalisation.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Layer normalisation over the last dimensions:
/// y = (x - mean) / sqrt(variance + eps) · weight + bias, with the biased variance.
/// Shapes: x ends in `normalized_shape`, which weight and bias have too; either may be undefined. y has x's
/// shape.
/// Edge cases: where all elements of a row are equal, y is exactly the bias.
/// Throws: ShapeError if x does not end in normalized_shape or a parameter has another shape; TypeError for
/// int64.
/// Source: Ba, Kiros and Hinton, 2016.
[[nodiscard]] Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight = {},
                                const Tensor& bias = {}, double eps = 1e-5);

/// Normalisation by the root mean square over the last dimensions: y = x / sqrt(mean(x²) + eps) · weight.
/// Shapes: x ends in `normalized_shape`, which weight has too if it is defined. y has x's shape.
/// Edge cases: without eps it is the machine epsilon of x's type.
/// Throws: ShapeError if x does not end in normalized_shape or weight has another shape; TypeError for int64.
/// Source: Zhang and Sennrich, 2019.
[[nodiscard]] Tensor rms_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight = {},
                              std::optional<double> eps = {});

/// Group normalisation: the channels of each sample are cut into `groups` parts of equal size, and
/// y = (x - mean) / sqrt(variance + eps) · weight + bias, with mean and biased variance of each part.
/// Shapes: x is (N, C, …) with C divisible by groups; weight and bias are (C) or undefined. y has x's shape.
/// Throws: ShapeError if x has fewer than 2 dimensions or a parameter another shape; ValueError if C is not
/// divisible by groups or groups < 1; TypeError for int64.
/// Source: Wu and He, 2018.
[[nodiscard]] Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight = {},
                                const Tensor& bias = {}, double eps = 1e-5);

struct BatchNormFunctionalOptions {
  bool training = false;  ///< normalise by the batch's own statistics and update the running ones
  double momentum = 0.1;  ///< running = (1 - momentum)·running + momentum·batch
  double eps = 1e-5;
};

/// Batch normalisation: y = (x - mean) / sqrt(variance + eps) · weight + bias by channel. In training, mean
/// and biased variance are those of the batch, and running_mean and running_var, where defined, are updated
/// in place (with the unbiased variance). Otherwise they are the running ones, which get no gradient.
/// Shapes: x is (N, C, …); all parameters are (C), and weight and bias may be undefined. y has x's shape.
/// Throws: ShapeError if a shape does not fit; ValueError in training for a single value per channel, or
/// outside it without running statistics; TypeError for int64.
/// Source: Ioffe and Szegedy, 2015.
[[nodiscard]] Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                                const Tensor& weight = {}, const Tensor& bias = {},
                                BatchNormFunctionalOptions options = {});

}  // namespace retort
