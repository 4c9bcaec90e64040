#include "retort/framework/ops/softmax.hpp"

#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/softmax.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"

namespace retort {
namespace {

// kernel(in, out, split) over the elements of x.
template <class Kernel>
Tensor along(const Tensor& x, const detail::Split& split, Kernel kernel) {
  Array out(x.shape(), x.dtype());
  visit_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernel(x.data<T>().data(), out.fill<T>().data(), split);
  });
  return Tensor(std::move(out));
}

template <class Kernel>
Tensor along(const Tensor& y, const Tensor& g, const detail::Split& split, Kernel kernel) {
  return along(y, split, [&]<class T>(const T* in, T* out, const detail::Split& s) {
    kernel(in, g.data<T>().data(), out, s);
  });
}

}  // namespace

Tensor softmax(const Tensor& input, std::int64_t dim, std::optional<DType> dtype) {
  const Tensor x = dtype ? input.to(*dtype) : input;
  detail::require_floating("softmax", x);
  const detail::Split split = detail::split_at(x.shape(), detail::checked_dim("softmax", dim, x.shape()));
  return record(
      {.name = "softmax",
       .inputs = {x},
       .value = along(x, split,
                      [](auto* in, auto* out, const detail::Split& s) {
                        kernels::softmax(in, out, s.outer, s.n, s.inner);
                      }),
       .vjp = [dim](const Tensor& g, const Tensor& y, Needs) { return y * (g - sum(g * y, dim, true)); },
       .fast_vjp =
           [split](const Tensor& g, const Tensor& y, Needs) {
             return along(y, g, split, [](auto* yy, auto* gg, auto* out, const detail::Split& s) {
               kernels::softmax_backward(yy, gg, out, s.outer, s.n, s.inner);
             });
           }});
}

Tensor log_softmax(const Tensor& input, std::int64_t dim, std::optional<DType> dtype) {
  const Tensor x = dtype ? input.to(*dtype) : input;
  detail::require_floating("log_softmax", x);
  const detail::Split split = detail::split_at(x.shape(), detail::checked_dim("log_softmax", dim, x.shape()));
  return record(
      {.name = "log_softmax",
       .inputs = {x},
       .value = along(x, split,
                      [](auto* in, auto* out, const detail::Split& s) {
                        kernels::log_softmax(in, out, s.outer, s.n, s.inner);
                      }),
       .vjp = [dim](const Tensor& g, const Tensor& y, Needs) { return g - exp(y) * sum(g, dim, true); },
       .fast_vjp =
           [split](const Tensor& g, const Tensor& y, Needs) {
             return along(y, g, split, [](auto* yy, auto* gg, auto* out, const detail::Split& s) {
               kernels::log_softmax_backward(yy, gg, out, s.outer, s.n, s.inner);
             });
           }});
}

}  // namespace retort
