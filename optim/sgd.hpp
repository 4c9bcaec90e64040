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
  bool maximize = false;  ///< ascend instead
};

/// g += weight_decay·p; b = momentum·b + (1-dampening)·g (at first b = g); p -= lr·b, with nesterov
/// p -= lr·(g + momentum·b). Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and
/// momentum in deep learning" (2013), with PyTorch's order of operations. ValueError for a negative lr,
/// momentum or weight_decay, and for nesterov without momentum or with dampening.
class SGD : public Optimizer {
 public:
  explicit SGD(Tensors parameters, SGDOptions options = {});
  explicit SGD(std::vector<ParameterGroup<SGDOptions>> groups);
  explicit SGD(std::initializer_list<ParameterGroup<SGDOptions>> groups) : SGD(std::vector(groups)) {}
  /// Adds a group of parameters. Throws: ValueError for a parameter of another group or an option out of
  /// range.
  void add_group(ParameterGroup<SGDOptions> group);

 protected:
  void check_options() const override;
  void update(const Tensor& parameter, const Tensor& gradient, State& state) override;
};

}  // namespace retort
