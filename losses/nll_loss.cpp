#include "retort/losses/nll_loss.hpp"

#include "retort/framework/ops/checks.hpp"
#include "retort/losses/rows_impl.hpp"

namespace retort {

Tensor nll_loss(const Tensor& input, const Tensor& target, NLLLossOptions options) {
  constexpr const char* operation = "nll_loss";
  const Reduction reduction =
      detail::resolve_reduction(options.size_average, options.reduce, options.reduction);
  detail::refuse_batchmean(operation, reduction);
  detail::require_floating(operation, input);
  const std::size_t dim = detail::class_dim(operation, input);
  const detail::ClassRows rows =
      detail::prepare_rows(operation, input.shape(), input.dtype(), dim, target,
                           {.weight = options.weight, .ignore_index = options.ignore_index});
  return detail::nll_of_rows(input, dim, rows, reduction);
}

}  // namespace retort
