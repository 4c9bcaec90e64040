// Normalisation.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Layer normalisation over the last dimensions: y = (x - mean) / sqrt(variance + eps) · weight + bias, with
/// the biased variance.
/// Shapes: x ends in `normalized_shape`, which is also the shape of weight and bias; either may be undefined.
/// y has x's shape.
/// Edge cases: if all elements of a row are equal, y is exactly the bias.
/// Throws: ShapeError if x does not end in normalized_shape or a parameter has a different shape; TypeError
/// if an input is int64; ValueError if eps is negative.
/// Source: Ba, Kiros and Hinton, 2016.
[[nodiscard]] Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight = {},
                                const Tensor& bias = {}, double eps = 1e-5);

/// Root-mean-square normalisation over the last dimensions: y = x / sqrt(mean(x²) + eps) · weight.
/// Shapes: x ends in `normalized_shape`, which is also the shape of weight; weight may be undefined. y has
/// x's shape.
/// Edge cases: the default eps is the machine epsilon of x's type.
/// Throws: ShapeError if x does not end in normalized_shape or weight has a different shape; TypeError if an
/// input is int64; ValueError if eps is negative.
/// Source: Zhang and Sennrich, 2019.
[[nodiscard]] Tensor rms_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight = {},
                              std::optional<double> eps = {});

/// Group normalisation: the channels of each sample are split into `groups` equal groups, and y = (x - mean)
/// / sqrt(variance + eps) · weight + bias, with the mean and biased variance of each group.
/// Shapes: x is (N, C, …) with C divisible by groups; weight and bias are (C) or undefined. y has x's shape.
/// Throws: ShapeError if x has fewer than 2 dimensions or a parameter has a different shape; ValueError if C
/// is not divisible by groups, groups < 1 or eps < 0; TypeError if an input is int64.
/// Source: Wu and He, 2018.
[[nodiscard]] Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight = {},
                                const Tensor& bias = {}, double eps = 1e-5);

struct BatchNormFunctionalOptions {
  bool training = false;  ///< normalise by batch statistics and update the running statistics
  double momentum = 0.1;  ///< running = (1 - momentum)·running + momentum·batch
  double eps = 1e-5;
};

/// Batch normalisation per channel: y = (x - mean) / sqrt(variance + eps) · weight + bias. In training, mean
/// and biased variance are those of the batch, and running_mean and running_var, if defined, are updated in
/// place (with the unbiased variance). Otherwise the running statistics are used; they get no gradient.
/// Shapes: x is (N, C, …); all parameters are (C), and weight and bias may be undefined. y has x's shape.
/// Throws: ShapeError if a shape does not fit; ValueError in training if there is a single value per channel,
/// otherwise if running statistics are undefined; TypeError if an input is int64.
/// Source: Ioffe and Szegedy, 2015.
[[nodiscard]] Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                                const Tensor& weight = {}, const Tensor& bias = {},
                                BatchNormFunctionalOptions options = {});

}  // namespace retort
