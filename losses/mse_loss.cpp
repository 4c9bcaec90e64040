#include "retort/losses/mse_loss.hpp"

#include "retort/framework/ops/elementwise.hpp"
#include "retort/losses/rows_impl.hpp"

namespace retort {

void MSELossOptions::check() const { (void)detail::checked_reduction("mse_loss", *this); }

Tensor mse_loss(const Tensor& input, const Tensor& target, MSELossOptions options) {
  const Reduction reduction = detail::prepare_terms("mse_loss", input, target, options);
  return detail::reduce_terms(pow(input - target, 2), reduction);
}

}  // namespace retort
