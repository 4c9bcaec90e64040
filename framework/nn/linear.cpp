#include "retort/framework/nn/linear.hpp"

#include <cmath>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/core/require.hpp"
#include "retort/framework/nn/init.hpp"
#include "retort/framework/ops/matmul.hpp"

namespace retort {

Linear::Linear(std::int64_t in, std::int64_t out, LinearOptions options) {
  if (in < 0 || out < 0)
    throw ValueError(message("Linear: {} and {}; neither may be negative", detail::counted(in, "input"),
                             detail::counted(out, "output")));
  detail::require_shape("Linear", {out, in});
  const double bound = in > 0 ? 1 / std::sqrt(static_cast<double>(in)) : 0;
  weight = init::uniform_(empty({out, in}), -bound, bound).set_requires_grad();
  if (options.bias) bias = init::uniform_(empty({out}), -bound, bound).set_requires_grad();
}

Tensor Linear::operator()(const Tensor& x) const { return output(linear(x, weight, bias)); }

}  // namespace retort
