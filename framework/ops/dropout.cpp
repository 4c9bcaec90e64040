#include "retort/framework/ops/dropout.hpp"

#include "retort/framework/base/draws.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"

namespace retort {

Tensor dropout(const Tensor& x, double p, bool training) {
  detail::require_defined("dropout", x);
  if (!(p >= 0 && p <= 1)) throw ValueError(message("dropout: p is {}; it must be between 0 and 1", p));
  detail::require_floating("dropout", x);
  if (!training || p == 0) return x;
  Array mask(x.shape(), x.dtype());
  // Both float types use the same number of words, so that a seed drops the same elements.
  const Generator source = detail::take_from_default(detail::blocks_for(x.size(), DType::float32));
  visit_floating(x.dtype(), [&](auto zero) {
    detail::fill_kept(mask.fill<decltype(zero)>(), source, 1 - p, p == 1 ? 0 : 1 / (1 - p));
  });
  return x * detail::Access::make(std::move(mask));
}

}  // namespace retort
