// Normalisation as modules.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/nn/module.hpp"
#include "retort/framework/ops/norm.hpp"

namespace [[RETORT_EXPORT]] retort {

struct LayerNormOptions {
  double eps = 1e-5;
  bool elementwise_affine = true;
  bool bias = true;
};

/// layer_norm over the last dimensions, with weight (initially 1) and bias (0) of their shape if affine.
/// Throws: ShapeError if normalized_shape is () or has a negative extent; ValueError if eps is negative.
class LayerNorm : public Module {
 public:
  explicit LayerNorm(const Shape& normalized_shape, LayerNormOptions options = {});
  explicit LayerNorm(std::int64_t features, LayerNormOptions options = {})
      : LayerNorm(Shape{features}, options) {}
  Tensor operator()(const Tensor& x) const;

  Tensor weight, bias;
  RETORT_MEMBERS(weight, bias)

 private:
  Shape normalized_shape_;
  double eps_;
};

struct RMSNormOptions {
  std::optional<double> eps = {};  ///< machine epsilon of the input's type if absent
  bool elementwise_affine = true;
};

/// rms_norm over the last dimensions, with weight (initially 1) of their shape if affine.
class RMSNorm : public Module {
 public:
  explicit RMSNorm(const Shape& normalized_shape, RMSNormOptions options = {});
  explicit RMSNorm(std::int64_t features, RMSNormOptions options = {}) : RMSNorm(Shape{features}, options) {}
  Tensor operator()(const Tensor& x) const;

  Tensor weight;
  RETORT_MEMBERS(weight)

 private:
  Shape normalized_shape_;
  std::optional<double> eps_;
};

struct GroupNormOptions {
  double eps = 1e-5;
  bool affine = true;
};

/// group_norm with weight (initially 1) and bias (0) per channel if affine.
class GroupNorm : public Module {
 public:
  /// Throws: ValueError if `channels` is not a positive multiple of `groups`.
  GroupNorm(std::int64_t groups, std::int64_t channels, GroupNormOptions options = {});
  Tensor operator()(const Tensor& x) const;

  Tensor weight, bias;
  RETORT_MEMBERS(weight, bias)

 private:
  std::int64_t groups_, channels_;
  double eps_;
};

struct BatchNormOptions {
  double eps = 1e-5;
  double momentum = 0.1;  ///< weight of the new batch in the running statistics
  bool affine = true;
  bool track_running_stats = true;
};

using BatchNorm1dOptions = BatchNormOptions;
using BatchNorm2dOptions = BatchNormOptions;

/// batch_norm over channels, with weight (initially 1), bias (0), and buffers running_mean, running_var and
/// num_batches_tracked, which training updates. Evaluation uses them or, if untracked, batch statistics.
class BatchNorm : public Module {
 public:
  Tensor operator()(const Tensor& x) const;

  Tensor weight, bias;
  Buffer running_mean, running_var, num_batches_tracked;
  RETORT_MEMBERS(weight, bias, running_mean, running_var, num_batches_tracked)

 protected:
  BatchNorm(std::int64_t channels, BatchNormOptions options, bool images);

 private:
  bool images_;
  double momentum_;
  double eps_;
};

/// Batch normalisation of [N, C] or [N, C, L]. Throws: ShapeError for other shapes.
struct BatchNorm1d : BatchNorm {
  explicit BatchNorm1d(std::int64_t channels, BatchNormOptions options = {})
      : BatchNorm(channels, options, false) {}
};

/// Batch normalisation of [N, C, H, W]. Throws: ShapeError for other shapes.
struct BatchNorm2d : BatchNorm {
  explicit BatchNorm2d(std::int64_t channels, BatchNormOptions options = {})
      : BatchNorm(channels, options, true) {}
};

}  // namespace retort
