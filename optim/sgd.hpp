// Stochastic gradient descent.
#pragma once

#include "retort/optim/optimizer.hpp"

namespace [[RETORT_EXPORT]] retort {

struct SGDOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
  bool maximize = false;  ///< maximise instead of minimise
};

/// g += weight_decay·p; b = momentum·b + (1-dampening)·g (first step: b = g); p -= lr·b, with nesterov p -=
/// lr·(g + momentum·b). PyTorch's order of operations.
/// Throws: ValueError if lr, momentum or weight_decay is negative, or nesterov is set without momentum or
/// with dampening.
/// Source: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep
/// learning" (2013).
class SGD : public Optimizer {
 public:
  explicit SGD(Tensors parameters, SGDOptions options = {});
  explicit SGD(std::vector<ParameterGroup<SGDOptions>> groups);
  explicit SGD(std::initializer_list<ParameterGroup<SGDOptions>> groups) : SGD(std::vector(groups)) {}
  /// Adds a group of parameters.
  /// Throws: ValueError if a parameter belongs to another group or an option is out of range.
  void add_group(ParameterGroup<SGDOptions> group);

 protected:
  void check_options() const override;
  void update(const Tensor& parameter, const Tensor& gradient, State& state) override;
};

}  // namespace retort
