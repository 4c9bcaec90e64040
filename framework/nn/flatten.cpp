#include "retort/framework/nn/flatten.hpp"

#include "retort/framework/ops/shape_ops.hpp"

namespace retort {

Tensor Flatten::operator()(const Tensor& x) const { return flatten(x, start_dim_, end_dim_); }

}  // namespace retort
