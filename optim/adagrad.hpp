// Adagrad.
#pragma once

#include "retort/optim/optimizer.hpp"

namespace [[RETORT_EXPORT]] retort {

struct AdagradOptions {
  double lr = 1e-2;
  double lr_decay = 0;
  double weight_decay = 0;
  double initial_accumulator_value = 0;  ///< initial value of the sum of squares
  double eps = 1e-10;
  bool maximize = false;  ///< maximise instead of minimise
};

/// s += g²; p -= lr/(1 + (t-1)·lr_decay) · g/(sqrt(s) + eps).
/// Throws: ValueError if an option is negative.
/// Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic
/// optimization" (2011).
class Adagrad : public Optimizer {
 public:
  explicit Adagrad(Tensors parameters, AdagradOptions options = {});
  explicit Adagrad(std::vector<ParameterGroup<AdagradOptions>> groups);
  explicit Adagrad(std::initializer_list<ParameterGroup<AdagradOptions>> groups)
      : Adagrad(std::vector(groups)) {}
  /// Adds a group of parameters.
  /// Throws: ValueError if a parameter belongs to another group or an option is out of range.
  void add_group(ParameterGroup<AdagradOptions> group);

 protected:
  void update(const Tensor& parameter, const Tensor& gradient, State& state) override;
};

}  // namespace retort
