#include "retort/losses/nll_loss.hpp"

#include "retort/framework/ops/checks.hpp"
#include "retort/losses/rows_impl.hpp"

namespace retort {

void NLLLossOptions::check() const {
  (void)detail::checked_reduction("nll_loss", *this);
  if (weight.defined()) detail::require_floating("nll_loss", "weight", weight);
}

Tensor nll_loss(const Tensor& input, const Tensor& target, NLLLossOptions options) {
  constexpr const char* operation = "nll_loss";
  options.check();
  const Reduction reduction = detail::checked_reduction(operation, options);
  detail::require_floating(operation, "input", input);
  detail::require_defined(operation, "target", target);
  const std::size_t dim = detail::class_dim(operation, input);
  const detail::ClassRows rows =
      detail::prepare_rows(operation, input.shape(), input.dtype(), dim, target,
                           {.weight = options.weight, .ignore_index = options.ignore_index});
  return detail::nll_of_rows(input, dim, rows, reduction);
}

}  // namespace retort
