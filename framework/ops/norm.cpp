#include "retort/framework/ops/norm.hpp"

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/ops/centred_impl.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

Tensor affine(Tensor y, const Tensor& weight, const Tensor& bias, const Shape& shape) {
  if (weight.defined()) y = y * reshape(weight, shape);
  if (bias.defined()) y = y + reshape(bias, shape);
  return y;
}

void check_parameter(const char* operation, const Tensor& x, const char* what, const Tensor& parameter,
                     const Shape& shape) {
  if (parameter.defined() && parameter.shape() != shape)
    throw ShapeError(message("{}: input has shape {} but {} {}; it must have shape {}", operation, x.shape(),
                             what, parameter.shape(), shape));
}

// running = (1 - momentum)·running + momentum·observed, in place.
void update_running(const Tensor& running, const Tensor& observed, double momentum) {
  if (!running.defined()) return;
  const Tensor updated = running.detach() * (1 - momentum) + observed.to(running.dtype()) * momentum;
  visit_floating(running.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto from = updated.data<T>();
    const auto to = running.mutable_data<T>();
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = from[i];
  });
}

}  // namespace

namespace detail {
// A linear operation, and its own adjoint.
Tensor centred(const Tensor& x, const kernels::Channels& layout, Tensor* means) {
  Tensor found = means == nullptr ? Tensor() : empty({layout.groups * layout.channels}, x.dtype());
  Tensor y = empty(x.shape(), x.dtype());
  compute_into(
      x.dtype(), [&](auto* out, auto* mean, auto* in) { kernels::centre(in, out, mean, layout); },
      writable(y), writable(found), x);
  if (means != nullptr) *means = found;
  return record(
      {.name = "centred", .inputs = {x}, .value = std::move(y), .vjp = [layout](const Tensor& g, Needs) {
         return centred(g, layout);
       }});
}
}  // namespace detail

Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight, const Tensor& bias,
                  double eps) {
  constexpr const char* operation = "layer_norm";
  detail::require_floating(operation, x);
  const std::size_t rank = normalized_shape.size();
  if (rank == 0 || rank > x.shape().size() ||
      Shape(x.shape().end() - rank, x.shape().end()) != normalized_shape)
    throw ShapeError(message("{}: input has shape {}, which does not end in normalized_shape {}", operation,
                             x.shape(), normalized_shape));
  check_parameter(operation, x, "weight", weight, normalized_shape);
  check_parameter(operation, x, "bias", bias, normalized_shape);
  std::vector<std::int64_t> dims;
  std::int64_t n = 1;
  for (std::size_t i = 0; i < rank; ++i)
    dims.push_back(-1 - static_cast<std::int64_t>(i)), n *= normalized_shape[i];
  const Tensor centred = detail::centred(x, {.channels = n == 0 ? 0 : x.size() / n, .inner = n});
  const Tensor variance = mean(centred * centred, dims, true);
  return affine(centred / sqrt(variance + eps), weight, bias, normalized_shape);
}

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                  const Tensor& weight, const Tensor& bias, BatchNormFunctionalOptions options) {
  constexpr const char* operation = "batch_norm";
  detail::require_floating(operation, x);
  if (x.dim() < 2)
    throw ShapeError(message("{}: input has shape {}; it must be (N, C, ...)", operation, x.shape()));
  const std::int64_t channels = x.size(1);
  for (const auto& [what, parameter] : {std::pair<const char*, const Tensor&>("running_mean", running_mean),
                                        {"running_var", running_var},
                                        {"weight", weight},
                                        {"bias", bias}})
    check_parameter(operation, x, what, parameter, {channels});
  Shape by_channel(x.shape().size(), 1);
  by_channel[1] = channels;
  if (!options.training) {
    if (!running_mean.defined() || !running_var.defined())
      throw ValueError(message("{}: outside training running_mean and running_var are needed", operation));
    const Tensor scale = 1 / sqrt(running_var.detach() + options.eps);
    return affine((x - reshape(running_mean.detach(), by_channel)) * reshape(scale, by_channel), weight, bias,
                  by_channel);
  }
  const std::int64_t count = channels == 0 ? 0 : x.size() / channels;
  if (count < 2)
    throw ValueError(message("{}: input has shape {}: training needs more than one value a channel",
                             operation, x.shape()));
  std::vector<std::int64_t> dims;
  for (std::int64_t d = 0; d < x.dim(); ++d)
    if (d != 1) dims.push_back(d);
  Tensor average;
  const Tensor centred =
      detail::centred(x, {.batch = x.size(0), .channels = channels, .inner = count / x.size(0)}, &average);
  const Tensor variance = mean(centred * centred, dims, true);
  no_grad([&] {
    update_running(running_mean, average, options.momentum);
    const double unbiased = static_cast<double>(count) / static_cast<double>(count - 1);
    update_running(running_var, reshape(variance, {channels}) * unbiased, options.momentum);
  });
  return affine(centred / sqrt(variance + options.eps), weight, bias, by_channel);
}

}  // namespace retort
