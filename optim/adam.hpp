// Adam and AdamW.
#pragma once

#include <utility>

#include "retort/optim/optimizer.hpp"

namespace [[RETORT_EXPORT]] retort {

struct AdamOptions {
  double lr = 1e-3;
  std::pair<double, double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0;  ///< added to the gradient
  bool amsgrad = false;     ///< divide by the largest second moment so far
  bool maximize = false;    ///< maximise instead of minimise
};

/// g += weight_decay·p; m = β1·m + (1-β1)·g; v = β2·v + (1-β2)·g²;
/// p -= lr/(1-β1^t) · m / (sqrt(v)/sqrt(1-β2^t) + eps).
/// Throws: ValueError if lr, eps or weight_decay is negative or a beta is outside [0, 1).
/// Source: Kingma and Ba, "Adam: a method for stochastic optimization" (2015); amsgrad: Reddi, Kale and
/// Kumar, "On the convergence of Adam and beyond" (2018).
class Adam : public Optimizer {
 public:
  explicit Adam(Tensors parameters, AdamOptions options = {});
  explicit Adam(std::vector<ParameterGroup<AdamOptions>> groups);
  explicit Adam(std::initializer_list<ParameterGroup<AdamOptions>> groups) : Adam(std::vector(groups)) {}
  /// Adds a group of parameters.
  /// Throws: ValueError if a parameter belongs to another group or an option is out of range.
  void add_group(ParameterGroup<AdamOptions> group);

  /// As Optimizer::state_dict(), with `param_groups.0.decoupled_weight_decay`, … per group, which tells Adam
  /// from AdamW.
  StateDict state_dict() const override;
  /// As Optimizer::load_state_dict(). The states of earlier versions, without that entry, are accepted.
  /// Throws: ValueError if an Adam is given a state of AdamW, or an AdamW one of Adam.
  void load_state_dict(const StateDict& state) override;

 protected:
  Adam(const char* name, bool decoupled);
  void update(const Tensor& parameter, const Tensor& gradient, State& state) override;

 private:
  bool decoupled_;
};

struct AdamWOptions {
  double lr = 1e-3;
  std::pair<double, double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0.01;  ///< multiplies p by 1 - lr·weight_decay before the step
  bool amsgrad = false;
  bool maximize = false;
};

/// Adam with decoupled weight decay: p *= 1 - lr·weight_decay, then Adam's step. Throws: as Adam.
/// Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019).
struct AdamW : Adam {
  explicit AdamW(Tensors parameters, AdamWOptions options = {});
  explicit AdamW(std::vector<ParameterGroup<AdamWOptions>> groups);
  explicit AdamW(std::initializer_list<ParameterGroup<AdamWOptions>> groups) : AdamW(std::vector(groups)) {}
  /// Adds a group of parameters.
  /// Throws: ValueError if a parameter belongs to another group or an option is out of range.
  void add_group(ParameterGroup<AdamWOptions> group);
};

}  // namespace retort
