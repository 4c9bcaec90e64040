#include "retort/losses/mse_loss.hpp"

#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/losses/rows_impl.hpp"

namespace retort {

Tensor mse_loss(const Tensor& input, const Tensor& target, MSELossOptions options) {
  detail::require_floating("mse_loss", input);
  detail::require_floating("mse_loss", target);
  if (input.shape() != target.shape())
    throw ShapeError(message("mse_loss: input has shape {} but target has shape {}; they must be equal",
                             input.shape(), target.shape()));
  const Reduction reduction =
      detail::resolve_reduction(options.size_average, options.reduce, options.reduction);
  detail::refuse_batchmean("mse_loss", reduction);
  return detail::reduce_terms(pow(input - target, 2), reduction);
}

}  // namespace retort
