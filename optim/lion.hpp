// Lion.
#pragma once

#include "retort/optim/optimizer.hpp"

namespace [[RETORT_EXPORT]] retort {

struct LionOptions {
  double lr = 1e-4;
  std::pair<double, double> betas = {0.9, 0.99};
  double weight_decay = 0;  ///< multiplies p by 1 - lr·weight_decay before the step
  bool maximize = false;    ///< maximise instead of minimise
};

/// The sign of an interpolated momentum: u = sign(β1·m + (1-β1)·g); p = p·(1 - lr·weight_decay) - lr·u; m =
/// β2·m + (1-β2)·g. The usual learning rate is a third to a tenth of AdamW's, with weight decay larger by the
/// same factor.
/// Edge cases: sign(0) = 0; a NaN gradient makes the parameter NaN.
/// Throws: ValueError if lr or weight_decay is negative or a beta is outside [0, 1).
/// Source: Chen et al., "Symbolic discovery of optimization algorithms" (2023).
class Lion : public Optimizer {
 public:
  explicit Lion(Tensors parameters, LionOptions options = {});
  explicit Lion(std::vector<ParameterGroup<LionOptions>> groups);
  explicit Lion(std::initializer_list<ParameterGroup<LionOptions>> groups) : Lion(std::vector(groups)) {}
  /// Adds a group of parameters.
  /// Throws: ValueError if a parameter belongs to another group or an option is out of range.
  void add_group(ParameterGroup<LionOptions> group);

 protected:
  void update(const Tensor& parameter, const Tensor& gradient, State& state) override;
};

}  // namespace retort
