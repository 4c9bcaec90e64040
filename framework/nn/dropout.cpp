#include "retort/framework/nn/dropout.hpp"

#include "retort/framework/ops/dropout.hpp"

namespace retort {

Dropout::Dropout(double p) : p_(p) {
  if (!(p >= 0 && p <= 1)) throw ValueError(message("Dropout: p is {}; it is a probability, in [0, 1]", p));
}

Tensor Dropout::operator()(const Tensor& x) const { return dropout(x, p_, is_training()); }

}  // namespace retort
