// Modules without parameters: activations, dropout, flattening.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "retort/framework/nn/module.hpp"
#include "retort/framework/ops/elementwise.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A module that applies a function of one tensor.
template <Tensor (*function)(const Tensor&)>
struct Activation : Module {
  Tensor operator()(const Tensor& x) const { return output(function(x)); }
};

/// relu(x).
using ReLU = Activation<relu>;
/// tanh(x).
using Tanh = Activation<tanh>;
/// sigmoid(x).
using Sigmoid = Activation<sigmoid>;
/// silu(x).
using SiLU = Activation<silu>;
/// relu6(x).
using ReLU6 = Activation<relu6>;
/// hardsigmoid(x).
using Hardsigmoid = Activation<hardsigmoid>;
/// hardswish(x).
using Hardswish = Activation<hardswish>;

/// A module that applies a function of a tensor and a number.
template <Tensor (*function)(const Tensor&, double)>
class ScaledActivation : public Module {
 public:
  explicit ScaledActivation(double argument) : argument_(argument) {}
  Tensor operator()(const Tensor& x) const { return output(function(x, argument_)); }

 private:
  double argument_;
};

/// leaky_relu(x, slope).
struct LeakyReLU : ScaledActivation<leaky_relu> {
  /// Throws: ValueError unless the slope is finite.
  explicit LeakyReLU(double slope = 0.01);
};

struct PReLUOptions {
  double init = 0.25;  ///< initial value of the weight
};

/// prelu(x, weight) with a learnt slope for all elements or for each channel.
class PReLU : public Module {
 public:
  /// Throws: ValueError if `num_parameters` is less than 1 or `init` is not finite.
  explicit PReLU(std::int64_t num_parameters = 1, PReLUOptions options = {});
  Tensor operator()(const Tensor& x) const { return output(prelu(x, weight)); }

  Tensor weight;  ///< [num_parameters]
  RETORT_MEMBERS(weight)
};

/// elu(x, alpha).
struct ELU : ScaledActivation<elu> {
  /// Throws: ValueError unless alpha is finite.
  explicit ELU(double alpha = 1);
};

struct GELUOptions {
  GeluApproximation approximate = GeluApproximation::none;
};

/// gelu(x), exact or with the tanh approximation.
class GELU : public Module {
 public:
  explicit GELU(GELUOptions options = {}) : approximate_(options.approximate) {}
  explicit GELU(GeluApproximation approximate) : approximate_(approximate) {}
  Tensor operator()(const Tensor& x) const { return output(gelu(x, approximate_)); }

 private:
  GeluApproximation approximate_;
};

/// softplus(x, {.beta, .threshold}).
class Softplus : public Module {
 public:
  /// Throws: ValueError unless beta is positive and finite, and for a NaN threshold.
  explicit Softplus(SoftplusOptions options = {});
  explicit Softplus(std::initializer_list<detail::NoOptions>) : Softplus() {}
  Tensor operator()(const Tensor& x) const { return output(softplus(x, options_)); }

 private:
  SoftplusOptions options_;
};

/// softmax(x, dim). `dim` is required: PyTorch's implicit choice is not supported.
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

/// Returns its input.
struct Identity : Module {
  Tensor operator()(const Tensor& x) const { return output(x); }
};

/// In training, sets each element to 0 with probability p and otherwise divides it by 1 - p; in evaluation,
/// returns its input.
/// Throws: ValueError if p is outside [0, 1].
class Dropout : public Module {
 public:
  explicit Dropout(double p = 0.5);
  Tensor operator()(const Tensor& x) const;

 private:
  double p_;
};

/// Merges the dimensions from start_dim to end_dim: images [N, C, H, W] become rows [N, C·H·W].
class Flatten : public Module {
 public:
  explicit Flatten(std::int64_t start_dim = 1, std::int64_t end_dim = -1)
      : start_dim_(start_dim), end_dim_(end_dim) {}
  Tensor operator()(const Tensor& x) const;

 private:
  std::int64_t start_dim_, end_dim_;
};

}  // namespace retort
