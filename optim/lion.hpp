// Lion.
#pragma once

#include "retort/optim/optimizer.hpp"

namespace [[RETORT_EXPORT]] retort {

struct LionOptions {
  double lr = 1e-4;
  std::pair<double, double> betas = {0.9, 0.99};
  double weight_decay = 0;  ///< p is multiplied by 1 - lr·weight_decay before the step
  bool maximize = false;    ///< ascend instead
};

/// The sign of an interpolated momentum: u = sign(β1·m + (1-β1)·g); p = p·(1 - lr·weight_decay) - lr·u;
/// m = β2·m + (1-β2)·g. A rate of a third to a tenth of AdamW's, with a weight decay larger by the same
/// factor, is usual.
/// Edge cases: sign(0) = 0; a NaN in the gradient makes the parameter NaN.
/// Throws: ValueError for a negative lr or weight_decay, and for a beta outside [0, 1).
/// Chen et al., "Symbolic discovery of optimization algorithms" (2023).
class Lion : public Optimizer {
 public:
  explicit Lion(Tensors parameters, LionOptions options = {});
  explicit Lion(std::vector<ParameterGroup<LionOptions>> groups);
  explicit Lion(std::initializer_list<ParameterGroup<LionOptions>> groups) : Lion(std::vector(groups)) {}
  /// Adds a group of parameters. Throws: ValueError for a parameter of another group or an option out of
  /// range.
  void add_group(ParameterGroup<LionOptions> group);

 protected:
  void update(const Tensor& parameter, const Tensor& gradient, State& state) override;
};

}  // namespace retort
