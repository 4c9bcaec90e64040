// Adagrad.
#pragma once

#include "retort/optim/optimizer.hpp"

namespace [[RETORT_EXPORT]] retort {

struct AdagradOptions {
  double lr = 1e-2;
  double lr_decay = 0;
  double weight_decay = 0;
  double initial_accumulator_value = 0;  ///< what the sum of squares starts from
  double eps = 1e-10;
  bool maximize = false;  ///< ascend instead
};

/// s += g²; p -= lr/(1 + (t-1)·lr_decay) · g/(sqrt(s) + eps). Duchi, Hazan and Singer, "Adaptive subgradient
/// methods for online learning and stochastic optimization" (2011). ValueError for a negative option.
class Adagrad : public Optimizer {
 public:
  explicit Adagrad(Tensors parameters, AdagradOptions options = {});
  explicit Adagrad(std::vector<ParameterGroup<AdagradOptions>> groups);
  explicit Adagrad(std::initializer_list<ParameterGroup<AdagradOptions>> groups)
      : Adagrad(std::vector(groups)) {}
  /// Adds a group of parameters. Throws: ValueError for a parameter of another group or an option out of
  /// range.
  void add_group(ParameterGroup<AdagradOptions> group);

 protected:
  void update(const Tensor& parameter, const Tensor& gradient, State& state) override;
};

}  // namespace retort
