#include "retort/framework/nn/norm.hpp"

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/ops/checks.hpp"

namespace retort {
namespace {

void check(const char* module, const Shape& shape, std::optional<double> eps) {
  for (const std::int64_t extent : shape)
    if (extent < 0)
      throw ShapeError(message("{}: normalized_shape is {}; extents must not be negative", module, shape));
  if (shape.empty())
    throw ShapeError(message("{}: normalized_shape is (); it must have at least one dimension", module));
  if (eps) detail::require_at_least_0(module, "eps", *eps);
}

}  // namespace

LayerNorm::LayerNorm(const Shape& normalized_shape, LayerNormOptions options)
    : normalized_shape_(normalized_shape), eps_(options.eps) {
  check("LayerNorm", normalized_shape, eps_);
  if (!options.elementwise_affine) return;
  weight = ones(normalized_shape).set_requires_grad();
  if (options.bias) bias = zeros(normalized_shape).set_requires_grad();
}

Tensor LayerNorm::operator()(const Tensor& x) const {
  return output(layer_norm(x, normalized_shape_, weight, bias, eps_));
}

RMSNorm::RMSNorm(const Shape& normalized_shape, RMSNormOptions options)
    : normalized_shape_(normalized_shape), eps_(options.eps) {
  check("RMSNorm", normalized_shape, eps_);
  if (options.elementwise_affine) weight = ones(normalized_shape).set_requires_grad();
}

Tensor RMSNorm::operator()(const Tensor& x) const {
  return output(rms_norm(x, normalized_shape_, weight, eps_));
}

GroupNorm::GroupNorm(std::int64_t groups, std::int64_t channels, GroupNormOptions options)
    : groups_(groups), channels_(channels), eps_(options.eps) {
  if (groups < 1 || channels < 1 || channels % groups != 0)
    throw ValueError(
        message("GroupNorm: {} and {}; the number of channels must be a positive multiple of that of groups",
                detail::counted(channels, "channel"), detail::counted(groups, "group")));
  detail::require_at_least_0("GroupNorm", "eps", eps_);
  if (!options.affine) return;
  weight = ones({channels}).set_requires_grad();
  bias = zeros({channels}).set_requires_grad();
}

Tensor GroupNorm::operator()(const Tensor& x) const {
  detail::require_floating("GroupNorm", x);
  if (x.dim() < 2 || x.size(1) != channels_)
    throw ShapeError(message("GroupNorm: input has shape {}; it must be (N, {}, ...)", x.shape(), channels_));
  return output(group_norm(x, groups_, weight, bias, eps_));
}

BatchNorm::BatchNorm(std::int64_t channels, BatchNormOptions options, bool images)
    : images_(images), momentum_(options.momentum), eps_(options.eps) {
  const char* const name = images ? "BatchNorm2d" : "BatchNorm1d";
  if (channels < 1)
    throw ValueError(message("{}: {}; there must be at least 1", name, detail::counted(channels, "channel")));
  detail::require_at_least_0(name, "eps", eps_);
  detail::require_from_0_to_1(name, "momentum", momentum_);
  if (options.affine) {
    weight = ones({channels}).set_requires_grad();
    bias = zeros({channels}).set_requires_grad();
  }
  if (options.track_running_stats) {
    running_mean = zeros({channels});
    running_var = ones({channels});
    num_batches_tracked = zeros({}, DType::int64);
  }
}

Tensor BatchNorm::operator()(const Tensor& x) const {
  const char* const name = images_ ? "BatchNorm2d" : "BatchNorm1d";
  detail::require_floating(name, x);
  if (images_ ? x.dim() != 4 : x.dim() != 2 && x.dim() != 3)
    throw ShapeError(message("{}: input has shape {}; it must be {}", name, x.shape(),
                             images_ ? "(N, C, H, W)" : "(N, C) or (N, C, L)"));
  for (const Tensor& state : {Tensor(weight), Tensor(running_mean)})
    if (state.defined() && state.dim() == 1 && state.size(0) != x.size(1))
      throw ShapeError(message("{}: input has shape {}, {}; the layer is for {}", name, x.shape(),
                               detail::counted(x.size(1), "channel"), state.size(0)));
  const bool batch_statistics = is_training() || !running_mean.defined();
  Tensor y = batch_norm(x, running_mean, running_var, weight, bias,
                        {.training = batch_statistics, .momentum = momentum_, .eps = eps_});
  if (is_training() && num_batches_tracked.defined()) ++num_batches_tracked.mutable_data<std::int64_t>()[0];
  return output(y);
}

}  // namespace retort
