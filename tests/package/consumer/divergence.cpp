// A second file of the program, which includes one header instead of all.
#include "divergence.hpp"

#include <retort/losses/kl_div_loss.hpp>

double divergence(const retort::Tensor& log_probabilities, const retort::Tensor& target) {
  return retort::kl_div(log_probabilities, target, {.reduction = retort::Reduction::batchmean})
      .item<double>();
}
