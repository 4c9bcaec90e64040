// RMSprop.
#pragma once

#include "retort/optim/optimizer.hpp"

namespace [[RETORT_EXPORT]] retort {

struct RMSpropOptions {
  double lr = 1e-2;
  double alpha = 0.99;  ///< decay rate of the mean square
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0;
  bool centered = false;  ///< divide by the standard deviation of g instead
  bool maximize = false;  ///< maximise instead of minimise
};

/// s = alpha·s + (1-alpha)·g²; b = momentum·b + g/(sqrt(s) + eps); p -= lr·b.
/// Throws: ValueError if alpha is outside [0, 1] or any other option is negative.
/// Source: Tieleman and Hinton, "Lecture 6.5" of Neural Networks for Machine Learning (2012); centered:
/// Graves, "Generating sequences with recurrent neural networks" (2013).
class RMSprop : public Optimizer {
 public:
  explicit RMSprop(Tensors parameters, RMSpropOptions options = {});
  explicit RMSprop(std::vector<ParameterGroup<RMSpropOptions>> groups);
  explicit RMSprop(std::initializer_list<ParameterGroup<RMSpropOptions>> groups)
      : RMSprop(std::vector(groups)) {}
  /// Adds a group of parameters.
  /// Throws: ValueError if a parameter belongs to another group or an option is out of range.
  void add_group(ParameterGroup<RMSpropOptions> group);

 protected:
  void update(const Tensor& parameter, const Tensor& gradient, State& state) override;
};

}  // namespace retort
