#include "retort/framework/nn/activation.hpp"

#include "retort/framework/ops/softmax.hpp"

namespace retort {

Tensor ReLU::operator()(const Tensor& x) const { return relu(x); }
Tensor Tanh::operator()(const Tensor& x) const { return tanh(x); }
Tensor Sigmoid::operator()(const Tensor& x) const { return sigmoid(x); }
Tensor SiLU::operator()(const Tensor& x) const { return silu(x); }
Tensor GELU::operator()(const Tensor& x) const { return gelu(x, approximate_); }
Tensor Softmax::operator()(const Tensor& x) const { return softmax(x, dim_); }
Tensor LogSoftmax::operator()(const Tensor& x) const { return log_softmax(x, dim_); }

}  // namespace retort
