#include "retort/framework/ops/reduction.hpp"

#include <array>
#include <limits>
#include <optional>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/reduce.hpp"
#include "retort/framework/kernels/softmax.hpp"
#include "retort/framework/ops/centred_impl.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"

namespace retort {
namespace {

using detail::require_floating;

// The layout of a reduction for the kernels. Reduced dimensions that are not adjacent are first moved to the
// end.
struct Plan {
  std::array<bool, Shape::max_dims> reduced{};
  kernels::Axis axis;
  Shape kept;      // shape of the result with keepdim
  Shape squeezed;  // shape of the result without keepdim
  bool needs_permute = false;
  Dims order;  // of the permutation
  // The layout of a reduction over two runs of dimensions, the second of which is the last.
  std::optional<kernels::Channels> channels;

  const Shape& result(bool keepdim) const { return keepdim ? kept : squeezed; }
};

Plan plan_reduction(const char* operation, const Shape& shape, const Dims& dims) {
  Plan plan;
  for (const std::int64_t dim : dims.list()) {
    const std::size_t d = detail::checked_dim(operation, dim, shape);
    if (plan.reduced[d]) throw ValueError(message("{}: dim {} appears twice", operation, dim));
    plan.reduced[d] = true;
  }
  if (dims.all()) plan.reduced.fill(true);
  std::vector<std::int64_t> front, back;
  int runs = 0;  // runs of adjacent reduced dimensions longer than 1
  bool inside = false;
  kernels::Channels channels;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    plan.kept.push_back(plan.reduced[i] ? 1 : shape[i]);
    if (!plan.reduced[i]) plan.squeezed.push_back(shape[i]);
    (plan.reduced[i] ? plan.axis.n : runs ? plan.axis.inner : plan.axis.outer) *= shape[i];
    (plan.reduced[i] ? back : front).push_back(static_cast<std::int64_t>(i));
    if (shape[i] == 1) continue;
    if (plan.reduced[i] && !inside) ++runs;
    inside = plan.reduced[i];
    (inside      ? runs == 1 ? channels.batch : channels.inner
     : runs == 0 ? channels.groups
                 : channels.channels) *= shape[i];
  }
  if (runs > 1) {
    if (runs == 2 && inside) plan.channels = channels;
    plan.needs_permute = true;
    plan.axis.outer *= plan.axis.inner;
    plan.axis.inner = 1;
    front.insert(front.end(), back.begin(), back.end());
    plan.order = front;
  }
  return plan;
}

// x with its dimensions in the order of the plan.
Tensor arranged(const Tensor& x, const Plan& plan) {
  return plan.needs_permute ? permute(x.detach(), plan.order) : x.detach();
}

// Calls kernel(in, out) on the elements and reshapes the result.
template <class Kernel>
Tensor reduce(const Tensor& x, const Plan& plan, bool keepdim, Kernel kernel) {
  const Tensor in = arranged(x, plan);
  Array out(plan.result(keepdim), x.dtype());
  visit_dtype(x.dtype(), [&]<class T>(T) { kernel(in.data<T>().data(), out.fill<T>().data()); });
  return detail::Access::make(std::move(out));
}

template <class Kernel>
Tensor reduce_floating(const Tensor& x, const Plan& plan, bool keepdim, Kernel kernel) {
  return compute(
      plan.result(keepdim), x.dtype(), [&]<class T>(T* out, const T* in) { kernel(in, out); },
      arranged(x, plan));
}

// x minus its mean.
Tensor centred(const Tensor& x, const Plan& plan) {
  if (plan.needs_permute) {
    std::vector<std::int64_t> back(x.shape().size());
    for (std::size_t i = 0; i < back.size(); ++i)
      back[static_cast<std::size_t>(plan.order.list()[i])] = static_cast<std::int64_t>(i);
    return permute(
        detail::centred(permute(x, plan.order), {.channels = plan.axis.outer, .inner = plan.axis.n}), back);
  }
  const auto [outer, n, inner] = plan.axis;
  if (inner == 1) return detail::centred(x, {.channels = outer, .inner = n});
  return detail::centred(x, {.groups = outer, .batch = n, .channels = inner});
}

Tensor scaled_sum(const char* operation, const Tensor& x, const Plan& plan, bool keepdim, double scale) {
  Tensor value;
  if (plan.channels) {
    value = empty(plan.result(keepdim), x.dtype());
    visit_dtype(x.dtype(), [&]<class T>(T) {
      kernels::sum_channels(x.data<T>().data(), value.mutable_data<T>().data(), *plan.channels, scale);
    });
  } else {
    value = reduce(x, plan, keepdim,
                   [&]<class T>(const T* in, T* out) { kernels::sum(in, out, plan.axis, scale); });
  }
  return record({.name = operation,
                 .inputs = {x},
                 .value = std::move(value),
                 .vjp = [kept = plan.kept, shape = x.shape(), scale](const Tensor& g, Needs) {
                   const Tensor scaled = scale == 1 ? g : g * scale;
                   return broadcast_to(reshape(scaled, kept), shape);
                 }});
}

// True if any value is NaN.
bool has_nan(const Tensor& values) {
  bool found = false;
  visit_dtype(values.dtype(), [&]<class T>(T) {
    for (const T value : values.data<T>()) found = found || value != value;
  });
  return found;
}

// amax and amin. Ties share the gradient; if the result is NaN, all NaN elements tie.
template <class Kernel>
Tensor extreme(const char* operation, const Tensor& x, const Dims& dims, bool keepdim, Kernel kernel) {
  detail::require_defined(operation, x);
  const Plan plan = plan_reduction(operation, x.shape(), dims);
  if (plan.axis.n == 0)
    throw ValueError(
        message("{}: shape {} has no element along the reduced dimensions", operation, x.shape()));
  return record({.name = operation,
                 .inputs = {x},
                 .value = reduce(x, plan, keepdim, [&](auto* in, auto* out) { kernel(in, out, plan.axis); }),
                 .vjp = [x = x.detach(), plan](const Tensor& g, const Tensor& y, Needs) {
                   const Tensor value = reshape(y.detach(), plan.kept);
                   Tensor ties = equal(x, value);
                   if (has_nan(value)) ties = maximum(ties, not_equal(x, x) * not_equal(value, value));
                   std::vector<std::int64_t> reduced;
                   for (std::size_t i = 0; i < x.shape().size(); ++i)
                     if (plan.reduced[i]) reduced.push_back(static_cast<std::int64_t>(i));
                   const Tensor share = reshape(g, plan.kept) / sum(ties, reduced, true).to(x.dtype());
                   return where(ties, share, 0);
                 }});
}

Tensor greatest(const char* operation, const Tensor& x, const Dims& dims, bool keepdim) {
  return extreme(operation, x, dims, keepdim,
                 [](auto* in, auto* out, const kernels::Axis& axis) { kernels::amax(in, out, axis); });
}
Tensor least(const char* operation, const Tensor& x, const Dims& dims, bool keepdim) {
  return extreme(operation, x, dims, keepdim,
                 [](auto* in, auto* out, const kernels::Axis& axis) { kernels::amin(in, out, axis); });
}

// argmax and argmin.
template <class Kernel>
Tensor position(const char* operation, const Tensor& x, std::int64_t dim, bool keepdim, Kernel kernel) {
  const std::size_t d = detail::checked_dim(operation, dim, x.shape());
  const kernels::Axis axis = detail::split_at(x.shape(), d);
  if (axis.n == 0)
    throw ValueError(message("{}: shape {} has no element along dim {}", operation, x.shape(), dim));
  Shape shape = detail::with_extent(x.shape(), d, 1);
  if (!keepdim && !shape.empty()) shape.erase(shape.begin() + d);
  Array out(shape, DType::int64);
  visit_dtype(x.dtype(),
              [&]<class T>(T) { kernel(x.data<T>().data(), out.fill<std::int64_t>().data(), axis); });
  return detail::Access::make(std::move(out));
}

ValuesAndIndices extreme_along(const Tensor& x, std::int64_t dim, bool keepdim, const Tensor& indices) {
  const Tensor kept = x.dim() == 0 ? indices : unsqueeze(indices, dim);
  const Tensor values = gather(x, dim, kept);
  return keepdim ? ValuesAndIndices{values, kept}
                 : ValuesAndIndices{reshape(values, indices.shape()), indices};
}

}  // namespace

Tensor sum(const Tensor& x, Dims dims, bool keepdim) {
  detail::require_defined("sum", x);
  return scaled_sum("sum", x, plan_reduction("sum", x.shape(), dims), keepdim, 1);
}

Tensor mean(const Tensor& x, Dims dims, bool keepdim) {
  detail::require_defined("mean", x);
  require_floating("mean", x);
  const Plan plan = plan_reduction("mean", x.shape(), dims);
  // The mean of an empty tensor is 0 · NaN.
  const double scale =
      plan.axis.n == 0 ? std::numeric_limits<double>::quiet_NaN() : 1.0 / static_cast<double>(plan.axis.n);
  return scaled_sum("mean", x, plan, keepdim, scale);
}

Tensor var(const Tensor& x, Dims dims, bool keepdim, bool unbiased) {
  detail::require_defined("var", x);
  require_floating("var", x);
  const Plan plan = plan_reduction("var", x.shape(), dims);
  const kernels::Axis axis = plan.axis;
  const double divisor = std::max(0.0, static_cast<double>(axis.n) - (unbiased ? 1 : 0));
  return record({.name = "var",
                 .inputs = {x},
                 .value = reduce_floating(
                     x, plan, keepdim,
                     [&]<class T>(const T* in, T* out) { kernels::variance(in, out, axis, divisor); }),
                 .vjp = [x, plan, divisor](const Tensor& g, Needs) {
                   return reshape(g, plan.kept) * (2 / divisor) * centred(x, plan);
                 }});
}

Tensor logsumexp(const Tensor& x, Dims dims, bool keepdim) {
  detail::require_defined("logsumexp", x);
  require_floating("logsumexp", x);
  const Plan plan = plan_reduction("logsumexp", x.shape(), dims);
  const kernels::Axis axis = plan.axis;
  Op op{.name = "logsumexp",
        .inputs = {x},
        .value = reduce_floating(x, plan, keepdim,
                                 [&]<class T>(const T* in, T* out) { kernels::logsumexp(in, out, axis); }),
        .vjp = [x, kept = plan.kept](const Tensor& g, const Tensor& y, Needs) {
          return reshape(g, kept) * exp(x - reshape(y, kept));
        }};
  if (!plan.needs_permute)
    op.fast_vjp = [x, axis](const Tensor& g, const Tensor& y, Needs) {
      return compute(
          x.shape(), x.dtype(),
          [&](auto* dx, auto* in, auto* total, auto* upstream) {
            kernels::logsumexp_backward(in, total, upstream, dx, axis);
          },
          x, y, g);
    };
  return record(std::move(op));
}

Tensor amax(const Tensor& x, Dims dims, bool keepdim) { return greatest("amax", x, dims, keepdim); }
Tensor amin(const Tensor& x, Dims dims, bool keepdim) { return least("amin", x, dims, keepdim); }

Tensor argmax(const Tensor& x, std::int64_t dim, bool keepdim) {
  detail::require_defined("argmax", x);
  return position("argmax", x, dim, keepdim,
                  [](auto* in, auto* out, const kernels::Axis& axis) { kernels::argmax(in, out, axis); });
}

Tensor argmax(const Tensor& x) {
  detail::require_defined("argmax", x);
  if (x.size() == 0) throw ValueError(message("argmax: shape {} has no element", x.shape()));
  return argmax(reshape(x.detach(), {x.size()}), 0);
}

ValuesAndIndices max(const Tensor& x, std::int64_t dim, bool keepdim) {
  detail::require_defined("max", x);
  return extreme_along(x, dim, keepdim,
                       position("max", x, dim, false, [](auto* in, auto* out, const kernels::Axis& axis) {
                         kernels::argmax(in, out, axis);
                       }));
}

ValuesAndIndices min(const Tensor& x, std::int64_t dim, bool keepdim) {
  detail::require_defined("min", x);
  return extreme_along(x, dim, keepdim,
                       position("min", x, dim, false, [](auto* in, auto* out, const kernels::Axis& axis) {
                         kernels::argmin(in, out, axis);
                       }));
}

Tensor max(const Tensor& x) { return greatest("max", x, {}, false); }
Tensor min(const Tensor& x) { return least("min", x, {}, false); }

}  // namespace retort
