// Activations as modules; each does what the function of its name does.
#pragma once

#include <cstdint>

#include "retort/framework/nn/module.hpp"
#include "retort/framework/ops/elementwise.hpp"

namespace retort {

/// max(x, 0).
class ReLU : public Module {
 public:
  Tensor operator()(const Tensor& x) const;
};

/// tanh(x).
class Tanh : public Module {
 public:
  Tensor operator()(const Tensor& x) const;
};

/// 1 / (1 + e^-x).
class Sigmoid : public Module {
 public:
  Tensor operator()(const Tensor& x) const;
};

/// x · sigmoid(x).
class SiLU : public Module {
 public:
  Tensor operator()(const Tensor& x) const;
};

/// x · Φ(x), exactly or by the tanh approximation.
class GELU : public Module {
 public:
  explicit GELU(GeluApproximation approximate = GeluApproximation::none) : approximate_(approximate) {}
  Tensor operator()(const Tensor& x) const;

 private:
  GeluApproximation approximate_;
};

/// softmax(x, dim). PyTorch's implicit dim is not taken over.
class Softmax : public Module {
 public:
  explicit Softmax(std::int64_t dim) : dim_(dim) {}
  Tensor operator()(const Tensor& x) const;

 private:
  std::int64_t dim_;
};

/// log_softmax(x, dim).
class LogSoftmax : public Module {
 public:
  explicit LogSoftmax(std::int64_t dim) : dim_(dim) {}
  Tensor operator()(const Tensor& x) const;

 private:
  std::int64_t dim_;
};

}  // namespace retort
