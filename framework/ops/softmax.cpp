#include "retort/framework/ops/softmax.hpp"

#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/softmax.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"

namespace retort {
namespace {

Tensor converted(const char* operation, const Tensor& input, std::optional<DType> dtype) {
  detail::require_defined(operation, input);
  if (!dtype) {
    detail::require_floating(operation, input);
    return input;
  }
  if (!is_floating_point(*dtype))
    throw TypeError(message("{}: the option dtype is {}; it must be float32 or float64", operation, *dtype));
  return input.to(*dtype);
}

}  // namespace

Tensor softmax(const Tensor& input, std::int64_t dim, std::optional<DType> dtype) {
  const Tensor x = converted("softmax", input, dtype);
  const kernels::Axis axis = detail::split_at(x.shape(), detail::checked_dim("softmax", dim, x.shape()));
  return record(
      {.name = "softmax",
       .inputs = {x},
       .value = compute(
           x.shape(), x.dtype(), [&](auto* y, auto* in) { kernels::softmax(in, y, axis); }, x),
       // A probability of exactly 0 contributes nothing, whatever its upstream gradient.
       .vjp =
           [dim](const Tensor& g, const Tensor& y, Needs) {
             const Tensor present = not_equal(y, 0), seen = where(present, g, 0);
             return where(present, y * (seen - sum(seen * y, dim, true)), 0);
           },
       .fast_vjp =
           [axis](const Tensor& g, const Tensor& y, Needs) {
             return compute(
                 y.shape(), y.dtype(),
                 [&](auto* dx, auto* p, auto* upstream) { kernels::softmax_backward(p, upstream, dx, axis); },
                 y, g);
           }});
}

Tensor log_softmax(const Tensor& input, std::int64_t dim, std::optional<DType> dtype) {
  const Tensor x = converted("log_softmax", input, dtype);
  const kernels::Axis axis = detail::split_at(x.shape(), detail::checked_dim("log_softmax", dim, x.shape()));
  return record(
      {.name = "log_softmax",
       .inputs = {x},
       .value = compute(
           x.shape(), x.dtype(), [&](auto* y, auto* in) { kernels::log_softmax(in, y, axis); }, x),
       .vjp = [dim](const Tensor& g, const Tensor& y, Needs) { return g - exp(y) * sum(g, dim, true); },
       .fast_vjp =
           [axis](const Tensor& g, const Tensor& y, Needs) {
             return compute(
                 y.shape(), y.dtype(),
                 [&](auto* dx, auto* log_p, auto* upstream) {
                   kernels::log_softmax_backward(log_p, upstream, dx, axis);
                 },
                 y, g);
           }});
}

}  // namespace retort
