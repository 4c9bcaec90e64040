#include "retort/framework/nn/activation.hpp"

#include "retort/framework/ops/dropout.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"

namespace retort {

Tensor Softmax::operator()(const Tensor& x) const { return output(softmax(x, dim_)); }
Tensor LogSoftmax::operator()(const Tensor& x) const { return output(log_softmax(x, dim_)); }

Dropout::Dropout(double p) : p_(p) {
  if (!(p >= 0 && p <= 1)) throw ValueError(message("Dropout: p is {}; it must be between 0 and 1", p));
}
Tensor Dropout::operator()(const Tensor& x) const { return output(dropout(x, p_, is_training())); }

Tensor Flatten::operator()(const Tensor& x) const { return output(flatten(x, start_dim_, end_dim_)); }

}  // namespace retort
