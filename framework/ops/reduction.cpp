#include "retort/framework/ops/reduction.hpp"

#include <array>
#include <limits>

#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/reduce.hpp"
#include "retort/framework/kernels/softmax.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"

namespace retort {
namespace {

using detail::require_floating;

// A reduction as the kernels see it. Dimensions that are not neighbours are first brought together at the end.
struct Plan {
  std::array<bool, Shape::max_dims> reduced{};
  detail::Split split;
  Shape kept;      // the result's shape with keepdim
  Shape squeezed;  // and without
  bool needs_permute = false;
  Dims order;  // of the permutation

  const Shape& result(bool keepdim) const { return keepdim ? kept : squeezed; }
};

Plan plan_reduction(const char* operation, const Shape& shape, const Dims& dims) {
  Plan plan;
  for (const std::int64_t dim : dims.list()) {
    const std::size_t d = detail::checked_dim(operation, dim, shape);
    if (plan.reduced[d]) throw ValueError(message("{}: dim {} is named twice", operation, dim));
    plan.reduced[d] = true;
  }
  if (dims.all()) plan.reduced.fill(true);
  std::vector<std::int64_t> front, back;
  int runs = 0;  // of neighbouring reduced dimensions longer than 1
  bool inside = false;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    plan.kept.push_back(plan.reduced[i] ? 1 : shape[i]);
    if (!plan.reduced[i]) plan.squeezed.push_back(shape[i]);
    (plan.reduced[i] ? plan.split.n : runs ? plan.split.inner : plan.split.outer) *= shape[i];
    (plan.reduced[i] ? back : front).push_back(static_cast<std::int64_t>(i));
    if (shape[i] == 1) continue;
    if (plan.reduced[i] && !inside) ++runs;
    inside = plan.reduced[i];
  }
  if (runs > 1) {
    plan.needs_permute = true;
    plan.split.outer *= plan.split.inner;
    plan.split.inner = 1;
    front.insert(front.end(), back.begin(), back.end());
    plan.order = front;
  }
  return plan;
}

// The numbers of x in the order that the kernels want.
Tensor arranged(const Tensor& x, const Plan& plan) {
  return plan.needs_permute ? permute(x.detach(), plan.order) : x.detach();
}

// Calls kernel(in, out) on the elements and gives the result its shape.
template <class Kernel>
Tensor reduce(const Tensor& x, const Plan& plan, bool keepdim, Kernel kernel) {
  const Tensor in = arranged(x, plan);
  Array out(plan.result(keepdim), x.dtype());
  visit_dtype(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernel(in.data<T>().data(), out.fill<T>().data());
  });
  return Tensor(std::move(out));
}

template <class Kernel>
Tensor reduce_floating(const Tensor& x, const Plan& plan, bool keepdim, Kernel kernel) {
  const Tensor in = arranged(x, plan);
  Array out(plan.result(keepdim), x.dtype());
  visit_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernel(in.data<T>().data(), out.fill<T>().data());
  });
  return Tensor(std::move(out));
}

Tensor scaled_sum(const char* operation, const Tensor& x, const Plan& plan, bool keepdim, double scale) {
  const detail::Split s = plan.split;
  return record({.name = operation,
                 .inputs = {x},
                 .value = reduce(x, plan, keepdim,
                                 [&]<class T>(const T* in, T* out) {
                                   kernels::sum(in, out, s.outer, s.n, s.inner, scale);
                                 }),
                 .vjp = [kept = plan.kept, shape = x.shape(), scale](const Tensor& g, Needs) {
                   const Tensor scaled = scale == 1 ? g : g * scale;
                   return broadcast_to(reshape(scaled, kept), shape);
                 }});
}

// amax and amin: ties share the gradient.
template <class Kernel>
Tensor extreme(const char* operation, const Tensor& x, const Dims& dims, bool keepdim, Kernel kernel) {
  const Plan plan = plan_reduction(operation, x.shape(), dims);
  if (plan.split.n == 0)
    throw ValueError(
        message("{}: shape {} has no element along the reduced dimensions", operation, x.shape()));
  const detail::Split s = plan.split;
  return record({.name = operation,
                 .inputs = {x},
                 .value = reduce(x, plan, keepdim, [&](auto* in, auto* out) { kernel(in, out, s); }),
                 .vjp = [x = x.detach(), plan](const Tensor& g, const Tensor& y, Needs) {
                   const Tensor at_extreme = equal(x, reshape(y.detach(), plan.kept)).to(x.dtype());
                   std::vector<std::int64_t> reduced;
                   for (std::size_t i = 0; i < x.shape().size(); ++i)
                     if (plan.reduced[i]) reduced.push_back(static_cast<std::int64_t>(i));
                   const Tensor ties = sum(at_extreme, reduced, true);
                   return reshape(g, plan.kept) * (at_extreme / ties);
                 }});
}

ValuesAndIndices extreme_along(const Tensor& x, std::int64_t dim, bool keepdim, const Tensor& indices) {
  const Tensor kept = x.dim() == 0 ? indices : unsqueeze(indices, dim);
  const Tensor values = gather(x, dim, kept);
  return keepdim ? ValuesAndIndices{values, kept}
                 : ValuesAndIndices{reshape(values, indices.shape()), indices};
}

}  // namespace

Tensor sum(const Tensor& x, Dims dims, bool keepdim) {
  return scaled_sum("sum", x, plan_reduction("sum", x.shape(), dims), keepdim, 1);
}

Tensor mean(const Tensor& x, Dims dims, bool keepdim) {
  require_floating("mean", x);
  const Plan plan = plan_reduction("mean", x.shape(), dims);
  // Of nothing: 0 · NaN, the mean that nothing has.
  const double scale =
      plan.split.n == 0 ? std::numeric_limits<double>::quiet_NaN() : 1.0 / static_cast<double>(plan.split.n);
  return scaled_sum("mean", x, plan, keepdim, scale);
}

Tensor var(const Tensor& x, Dims dims, bool keepdim, bool unbiased) {
  require_floating("var", x);
  const Plan plan = plan_reduction("var", x.shape(), dims);
  const detail::Split s = plan.split;
  const double divisor = std::max(0.0, static_cast<double>(s.n) - (unbiased ? 1 : 0));
  return record({.name = "var",
                 .inputs = {x},
                 .value = reduce_floating(x, plan, keepdim,
                                          [&]<class T>(const T* in, T* out) {
                                            kernels::variance(in, out, s.outer, s.n, s.inner, divisor);
                                          }),
                 .vjp = [x, dims, kept = plan.kept, divisor](const Tensor& g, Needs) {
                   return reshape(g, kept) * (2 / divisor) * (x - mean(x, dims, true));
                 }});
}

Tensor logsumexp(const Tensor& x, Dims dims, bool keepdim) {
  require_floating("logsumexp", x);
  const Plan plan = plan_reduction("logsumexp", x.shape(), dims);
  const detail::Split s = plan.split;
  Op op{.name = "logsumexp",
        .inputs = {x},
        .value = reduce_floating(
            x, plan, keepdim,
            [&]<class T>(const T* in, T* out) { kernels::logsumexp(in, out, s.outer, s.n, s.inner); }),
        .vjp = [x, kept = plan.kept](const Tensor& g, const Tensor& y, Needs) {
          return reshape(g, kept) * exp(x - reshape(y, kept));
        }};
  if (!plan.needs_permute)
    op.fast_vjp = [x, s](const Tensor& g, const Tensor& y, Needs) {
      Array out(x.shape(), x.dtype());
      visit_floating(x.dtype(), [&](auto zero) {
        using T = decltype(zero);
        kernels::logsumexp_backward(x.data<T>().data(), y.data<T>().data(), g.data<T>().data(),
                                    out.fill<T>().data(), s.outer, s.n, s.inner);
      });
      return Tensor(std::move(out));
    };
  return record(std::move(op));
}

Tensor amax(const Tensor& x, Dims dims, bool keepdim) {
  return extreme("amax", x, dims, keepdim,
                 [](auto* in, auto* out, detail::Split s) { kernels::amax(in, out, s.outer, s.n, s.inner); });
}

Tensor amin(const Tensor& x, Dims dims, bool keepdim) {
  return extreme("amin", x, dims, keepdim,
                 [](auto* in, auto* out, detail::Split s) { kernels::amin(in, out, s.outer, s.n, s.inner); });
}

Tensor argmax(const Tensor& x, std::int64_t dim, bool keepdim) {
  const std::size_t d = detail::checked_dim("argmax", dim, x.shape());
  const detail::Split s = detail::split_at(x.shape(), d);
  if (s.n == 0) throw ValueError(message("argmax: shape {} has no element along dim {}", x.shape(), dim));
  Shape shape = detail::with_extent(x.shape(), d, 1);
  if (!keepdim && !shape.empty()) shape.erase(shape.begin() + d);
  Array out(shape, DType::int64);
  visit_dtype(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::argmax(x.data<T>().data(), out.fill<std::int64_t>().data(), s.outer, s.n, s.inner);
  });
  return Tensor(std::move(out));
}

Tensor argmax(const Tensor& x) { return argmax(reshape(x.detach(), {x.size()}), 0); }

ValuesAndIndices max(const Tensor& x, std::int64_t dim, bool keepdim) {
  return extreme_along(x, dim, keepdim, argmax(x, dim));
}

ValuesAndIndices min(const Tensor& x, std::int64_t dim, bool keepdim) {
  return extreme_along(x, dim, keepdim, argmax(neg(x.detach()), dim));
}

Tensor max(const Tensor& x) { return amax(x); }
Tensor min(const Tensor& x) { return amin(x); }

}  // namespace retort
