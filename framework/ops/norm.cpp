#include "retort/framework/ops/norm.hpp"

#include <cmath>
#include <limits>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/norm.hpp"
#include "retort/framework/ops/centred_impl.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

using kernels::NormChannels;
using kernels::NormRows;

// Group norm of images of at most this many elements is computed by the kernel for rows.
constexpr std::int64_t short_run = 64;

void check_parameter(const char* operation, const Tensor& x, const char* what, const Tensor& parameter,
                     const Shape& shape) {
  if (!parameter.defined()) return;
  detail::require_floating(operation, what, parameter);
  if (parameter.shape() != shape)
    throw ShapeError(message("{}: input has shape {} but {} {}; it must have shape {}", operation, x.shape(),
                             what, parameter.shape(), shape));
}

/// Input and parameters in their common type; an undefined weight is 1, an undefined bias 0.
struct Operands {
  Tensor x, weight, bias;
  Operands(const Tensor& input, const Tensor& w, const Tensor& b, const Shape& shape, DType dtype) {
    for (const Tensor* parameter : {&w, &b})
      if (parameter->defined()) dtype = promote(dtype, parameter->dtype());
    x = input.to(dtype);
    weight = w.defined() ? w.to(dtype) : ones(shape, dtype);
    bias = b.defined() ? b.to(dtype) : zeros(shape, dtype);
  }
  Tensors all() const { return {x, weight, bias}; }
};

std::array<Tensor, 3> gradients_like(const Tensor& x, const Tensor& weight, Needs needs) {
  const auto wanted = [&](std::size_t i, const Tensor& like) {
    return needs[i] ? empty(like.shape(), like.dtype()) : Tensor();
  };
  return {wanted(0, x), wanted(1, weight), wanted(2, weight)};
}

/// The mean square over the last dimension of [sets, n], as a column.
Tensor mean_square(const Tensor& x) { return mean(x * x, -1, true); }

/// Standardises each row of [sets, n] to mean 0 and variance 1, written in ops.
Tensor standardised(const Tensor& rows, double eps) {
  const Tensor centred = detail::centred(rows, {.channels = rows.size(0), .inner = rows.size(1)});
  return centred / sqrt(mean_square(centred) + eps);
}

/// A norm over rows; `reference` computes the same value from {x, weight, bias} in ops.
template <class Reference>
Tensor norm_by_rows(const char* name, const Operands& in, const NormRows& layout,
                    const Reference& reference) {
  const DType dtype = in.x.dtype();
  const Tensor y = empty(in.x.shape(), dtype);
  const Tensor statistics = empty({kernels::norm_statistics, layout.rows}, dtype);
  compute_into(
      dtype,
      [&](auto* out, auto* found, auto* x, auto* w, auto* b) {
        kernels::norm_rows(x, w, b, out, found, layout);
      },
      writable(y), writable(statistics), in.x, in.weight, in.bias);
  return record(
      {.name = name,
       .inputs = {in.x, in.weight, in.bias},
       .value = y,
       .vjp = vjp_by_reference(reference, in.all()),
       .fast_vjp = [x = in.x.detach(), w = in.weight.detach(), statistics, layout](const Tensor& g,
                                                                                   Needs needs) {
         const auto gradients = gradients_like(x, w, needs);
         const Tensor room = empty({kernels::norm_rows_workspace(layout)}, DType::float64);
         compute_into(
             x.dtype(),
             [&](auto* dx, auto* dw, auto* db, auto* from, auto* weight, auto* found, auto* upstream) {
               kernels::norm_rows_backward(from, weight, found, upstream, dx, dw, db,
                                           room.mutable_data<double>().data(), layout);
             },
             writable(gradients[0]), writable(gradients[1]), writable(gradients[2]), x, w, statistics, g);
         return gradients;
       }});
}

/// Normalises channels by the statistics [4, sets].
template <class Reference>
Tensor norm_by_channels(const char* name, const Operands& in, const Tensor& y, const Tensor& statistics,
                        bool fixed, const NormChannels& layout, const Reference& reference) {
  return record({.name = name,
                 .inputs = {in.x, in.weight, in.bias},
                 .value = y,
                 .vjp = vjp_by_reference(reference, in.all()),
                 .fast_vjp = [x = in.x.detach(), w = in.weight.detach(), statistics, fixed, layout](
                                 const Tensor& g, Needs needs) {
                   const auto gradients = gradients_like(x, w, needs);
                   const Tensor room = empty({kernels::norm_channels_workspace(layout)}, DType::float64);
                   const Tensor means = empty({3, layout.sets()}, x.dtype());
                   compute_into(
                       x.dtype(),
                       [&](auto* dx, auto* dw, auto* db, auto* mean, auto* from, auto* weight, auto* found,
                           auto* upstream) {
                         kernels::norm_channels_backward(from, weight, found, upstream, dx, dw, db, mean,
                                                         room.mutable_data<double>().data(), fixed, layout);
                       },
                       writable(gradients[0]), writable(gradients[1]), writable(gradients[2]),
                       writable(means), x, w, statistics, g);
                   return gradients;
                 }});
}

/// y and the batch statistics of x.
std::pair<Tensor, Tensor> channels_forward(const Operands& in, const NormChannels& layout) {
  const DType dtype = in.x.dtype();
  const Tensor y = empty(in.x.shape(), dtype),
               statistics = empty({kernels::norm_statistics, layout.sets()}, dtype);
  const Tensor room = empty({kernels::norm_channels_workspace(layout)}, DType::float64);
  compute_into(
      dtype,
      [&](auto* out, auto* found, auto* x, auto* w, auto* b) {
        kernels::norm_channels_forward(x, w, b, out, found, room.mutable_data<double>().data(), layout);
      },
      writable(y), writable(statistics), in.x, in.weight, in.bias);
  return {y, statistics};
}

/// Updates in place: running = (1 - momentum)·running + momentum·factor·observed, where `observed` is one row
/// of the statistics.
void update_running(const Tensor& running, const Tensor& statistics, std::int64_t row, double factor,
                    double momentum) {
  if (!running.defined()) return;
  const std::size_t sets = static_cast<std::size_t>(statistics.size(1));
  visit_floating(statistics.dtype(), [&]<class T>(T) {
    const auto observed = statistics.data<T>().subspan(static_cast<std::size_t>(row) * sets, sets);
    visit_floating(running.dtype(), [&]<class R>(R) {
      const auto to = running.mutable_data<R>();
      const R kept = static_cast<R>(1 - momentum), added = static_cast<R>(momentum),
              scale = static_cast<R>(factor);
      for (std::size_t i = 0; i < sets; ++i)
        to[i] = to[i] * kept + static_cast<R>(observed[i]) * scale * added;
    });
  });
}

/// Statistics made from the running mean and variance.
Tensor running_statistics(const Tensor& mean, const Tensor& variance, DType dtype, double eps) {
  const std::vector<double> means = mean.values<double>(), variances = variance.values<double>();
  const std::int64_t channels = mean.size();
  return compute({kernels::norm_statistics, channels}, dtype, [&]<class T>(T* out) {
    for (std::int64_t c = 0; c < channels; ++c) {
      const double at = means[static_cast<std::size_t>(c)], spread = variances[static_cast<std::size_t>(c)];
      const T high = static_cast<T>(at);
      out[c] = high;
      out[channels + c] = std::isfinite(at) ? static_cast<T>(at - static_cast<double>(high)) : T{0};
      out[2 * channels + c] = static_cast<T>(1 / std::sqrt(spread + eps));
      out[3 * channels + c] = static_cast<T>(spread);
    }
  });
}

/// Returns the number of elements of normalized_shape, after checking that x's shape ends in it.
std::int64_t checked_row(const char* operation, const Tensor& x, const Shape& normalized_shape) {
  detail::require_floating(operation, x);
  const std::size_t rank = normalized_shape.size();
  if (rank == 0)
    throw ShapeError(message("{}: normalized_shape is empty; give the last dimensions of the input, shape {}",
                             operation, x.shape()));
  if (rank > x.shape().size() || Shape(x.shape().end() - rank, x.shape().end()) != normalized_shape)
    throw ShapeError(message("{}: input has shape {}, which does not end in normalized_shape {}", operation,
                             x.shape(), normalized_shape));
  return element_count(normalized_shape);
}

std::int64_t checked_channels(const char* operation, const Tensor& x, const Tensor& weight,
                              const Tensor& bias) {
  detail::require_floating(operation, x);
  if (x.dim() < 2)
    throw ShapeError(message("{}: input has shape {}; it must be (N, C, ...)", operation, x.shape()));
  check_parameter(operation, x, "weight", weight, {x.size(1)});
  check_parameter(operation, x, "bias", bias, {x.size(1)});
  return x.size(1);
}

/// [C, 1, …], which broadcasts over the channels of x.
Shape by_channel(const Tensor& x) {
  Shape shape(x.shape().size() - 1, 1);
  shape[0] = x.size(1);
  return shape;
}
Tensor scaled_channels(const Tensor& y, const Tensor& weight, const Tensor& bias) {
  const Shape shape = by_channel(y);
  return y * reshape(weight, shape) + reshape(bias, shape);
}

}  // namespace

namespace detail {
// Linear and self-adjoint.
Tensor centred(const Tensor& x, const kernels::Channels& layout) {
  return record({.name = "centred",
                 .inputs = {x},
                 .value = compute(
                     x.shape(), x.dtype(), [&](auto* out, auto* in) { kernels::centre(in, out, layout); }, x),
                 .vjp = [layout](const Tensor& g, Needs) { return centred(g, layout); }});
}
}  // namespace detail

Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight, const Tensor& bias,
                  double eps) {
  constexpr const char* operation = "layer_norm";
  const std::int64_t n = checked_row(operation, x, normalized_shape);
  check_parameter(operation, x, "weight", weight, normalized_shape);
  check_parameter(operation, x, "bias", bias, normalized_shape);
  detail::require_at_least_0(operation, "eps", eps);
  const std::int64_t rows = n == 0 ? 0 : x.size() / n;
  return norm_by_rows(operation, Operands(x, weight, bias, normalized_shape, x.dtype()),
                      {.rows = rows, .n = n, .eps = eps}, [rows, n, eps](const Tensors& in) {
                        const Tensor y = standardised(reshape(in[0], {rows, n}), eps);
                        return reshape(y, in[0].shape()) * in[1] + in[2];
                      });
}

Tensor rms_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight,
                std::optional<double> eps) {
  constexpr const char* operation = "rms_norm";
  const std::int64_t n = checked_row(operation, x, normalized_shape);
  check_parameter(operation, x, "weight", weight, normalized_shape);
  if (eps) detail::require_at_least_0(operation, "eps", *eps);
  const std::int64_t rows = n == 0 ? 0 : x.size() / n;
  const double machine_epsilon = x.dtype() == DType::float32 ? double{std::numeric_limits<float>::epsilon()}
                                                             : std::numeric_limits<double>::epsilon();
  const double added = eps.value_or(machine_epsilon);
  return norm_by_rows(operation, Operands(x, weight, {}, normalized_shape, x.dtype()),
                      {.rows = rows, .n = n, .centred = false, .eps = added},
                      [rows, n, added](const Tensors& in) {
                        const Tensor flat = reshape(in[0], {rows, n});
                        const Tensor y = flat / sqrt(mean_square(flat) + added);
                        return reshape(y, in[0].shape()) * in[1] + in[2];
                      });
}

Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias,
                  double eps) {
  constexpr const char* operation = "group_norm";
  const std::int64_t channels = checked_channels(operation, x, weight, bias);
  detail::require_at_least_0(operation, "eps", eps);
  if (groups < 1)
    throw ValueError(message("{}: the number of groups is {}; it must be at least 1", operation, groups));
  if (channels % groups != 0)
    throw ValueError(
        message("{}: {} cannot be cut into {} groups of equal size; the number of channels must "
                "be a multiple of that of groups",
                operation, detail::counted(channels, "channel"), groups));
  const std::int64_t batch = x.size(0), sets = batch * groups, n = sets == 0 ? 0 : x.size() / sets;
  const Operands in(x, weight, bias, {channels}, x.dtype());
  const auto reference = [sets, n, eps](const Tensors& inputs) {
    const Tensor y = standardised(reshape(inputs[0], {sets, n}), eps);
    return scaled_channels(reshape(y, inputs[0].shape()), inputs[1], inputs[2]);
  };
  const std::int64_t inner = element_count(Shape(x.shape().begin() + 2, x.shape().end()));
  const NormRows rows{.rows = sets, .n = n, .period = groups, .eps = eps};
  if (inner == 1) return norm_by_rows(operation, in, rows, reference);
  if (inner <= short_run && batch >= 4) {
    // Runs of a channel are short: rows of whole groups, with a weight and a bias per element.
    const auto each = [&](const Tensor& parameter) {
      return reshape(broadcast_to(reshape(parameter, {channels, 1}), {channels, inner}), {channels * inner});
    };
    const Operands expanded(in.x, each(in.weight), each(in.bias), {}, in.x.dtype());
    return norm_by_rows(operation, expanded, rows, [sets, n, eps](const Tensors& inputs) {
      const Tensor y = reshape(standardised(reshape(inputs[0], {sets, n}), eps), inputs[0].shape());
      const Shape sample(y.shape().begin() + 1, y.shape().end());
      return y * reshape(inputs[1], sample) + reshape(inputs[2], sample);
    });
  }
  const NormChannels layout{
      .batch = batch, .channels = channels, .inner = inner, .groups = groups, .eps = eps};
  const auto [y, statistics] = channels_forward(in, layout);
  return norm_by_channels(operation, in, y, statistics, false, layout, reference);
}

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_var,
                  const Tensor& weight, const Tensor& bias, BatchNormFunctionalOptions options) {
  constexpr const char* operation = "batch_norm";
  const std::int64_t channels = checked_channels(operation, x, weight, bias);
  check_parameter(operation, x, "running_mean", running_mean, {channels});
  check_parameter(operation, x, "running_var", running_var, {channels});
  detail::require_at_least_0(operation, "eps", options.eps);
  detail::require_from_0_to_1(operation, "momentum", options.momentum);
  const std::int64_t inner = element_count(Shape(x.shape().begin() + 2, x.shape().end()));
  const NormChannels layout{.batch = x.size(0), .channels = channels, .inner = inner, .eps = options.eps};
  if (!options.training) {
    if (!running_mean.defined() || !running_var.defined())
      throw ValueError(message("{}: outside training running_mean and running_var are needed", operation));
    const DType dtype = promote(promote(x.dtype(), running_mean.dtype()), running_var.dtype());
    const Operands in(x, weight, bias, {channels}, dtype);
    const Tensor statistics = running_statistics(running_mean, running_var, in.x.dtype(), options.eps);
    const Tensor y = compute(
        x.shape(), in.x.dtype(),
        [&](auto* out, auto* from, auto* w, auto* b, auto* found) {
          kernels::norm_channels(from, w, b, found, out, layout);
        },
        in.x, in.weight, in.bias, statistics);
    // The running statistics may be updated before the gradients are computed, so the rule keeps copies.
    const auto reference = [statistics](const Tensors& inputs) {
      const Shape shape = by_channel(inputs[0]);
      const auto row = [&](std::int64_t i) { return reshape(select(statistics, 0, i), shape); };
      return scaled_channels(((inputs[0] - row(0)) - row(1)) * row(2), inputs[1], inputs[2]);
    };
    return norm_by_channels(operation, in, y, statistics, true, layout, reference);
  }
  const std::int64_t count = channels == 0 ? 0 : x.size() / channels;
  if (count < 2)
    throw ValueError(
        message("{}: input has shape {}; training needs more than one value per channel; "
                "use .drop_last or eval()",
                operation, x.shape()));
  const Operands in(x, weight, bias, {channels}, x.dtype());
  const auto [y, statistics] = channels_forward(in, layout);
  update_running(running_mean, statistics, 0, 1, options.momentum);
  update_running(running_var, statistics, 3, static_cast<double>(count) / static_cast<double>(count - 1),
                 options.momentum);
  return norm_by_channels(operation, in, y, statistics, false, layout, [layout](const Tensors& inputs) {
    const Shape shape{layout.batch, layout.channels, layout.inner};
    const Tensor centred =
        detail::centred(reshape(inputs[0], shape),
                        {.batch = layout.batch, .channels = layout.channels, .inner = layout.inner});
    const Tensor standard = centred / sqrt(mean(centred * centred, {0, 2}, true) + layout.eps);
    return scaled_channels(reshape(standard, inputs[0].shape()), inputs[1], inputs[2]);
  });
}

}  // namespace retort
