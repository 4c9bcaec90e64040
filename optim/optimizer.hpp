// What all optimisers share: parameters, their state, and how both are kept and restored.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "retort/framework/core/state_dict.hpp"
#include "retort/framework/core/tensor.hpp"

namespace retort {

/// Base of the optimisers. It holds handles of the parameters, leaves that want a gradient, and writes their
/// values; it never changes a gradient. Neither copyable nor movable: schedulers refer to it. Construction
/// throws ValueError for no parameter, an undefined one, one that an operation made, or one that comes twice;
/// TypeError for int64.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  const Tensors& parameters() const { return parameters_; }

  /// Updates every parameter that has a gradient; one without is left alone, its state included.
  void step();
  /// Makes the gradients of all parameters undefined again.
  void zero_grad();

  double lr() const { return *settings_.front().number; }
  /// ValueError for a negative rate or NaN.
  void set_lr(double lr);
  /// The momentum, in the Adam family beta1; nothing for an optimiser without.
  std::optional<double> momentum() const;
  /// ValueError for an optimiser without momentum or a value that it does not take.
  void set_momentum(double momentum);

  /// A copy of all that the next step depends on beside the parameters: `state.0.step`, `state.0.exp_avg`, …
  /// of each parameter (of shape (0) when there is none yet), `param_groups.0.lr` and the other options.
  StateDict state_dict() const;
  /// Restores what state_dict() gave, options included, so that training goes on with the same bits.
  /// ValueError that lists all entries that are missing, unexpected or of another shape; then nothing has
  /// changed.
  void load_state_dict(const StateDict& state);

 protected:
  /// What an optimiser remembers of one parameter.
  struct State {
    std::int64_t step = 0;
    std::array<Tensor, 3> tensors = {};  ///< undefined until needed, then of the parameter's shape and type
  };
  /// An option as the state dict holds it: a number or a flag.
  struct Setting {
    Setting(const char* label, double& value) : name(label), number(&value) {}
    Setting(const char* label, bool& value) : name(label), flag(&value) {}
    double get() const { return number ? *number : *flag; }
    void set(double value) const;
    const char* name;
    double* number = nullptr;
    bool* flag = nullptr;
  };

  /// `state_names` are those of State::tensors.
  Optimizer(const char* name, Tensors parameters, std::vector<const char*> state_names);
  /// To be called at the end of a derived constructor: its options, lr first, and which one is the momentum.
  /// Throws what check_settings() throws.
  void use(std::vector<Setting> settings, double* momentum = nullptr);
  /// Throws ValueError when an option is out of its range.
  virtual void check_settings() const = 0;
  virtual void update(const Tensor& parameter, const Tensor& gradient, State& state) = 0;

  /// ValueError that names the option, its value and its range.
  void require(bool fits, const char* setting, double value, const char* range) const;
  /// The elements of a tensor of the state, made with zeros (or `initial`) at the first call.
  template <class T>
  static T* values(Tensor& state, const Tensor& parameter, double initial = 0) {
    if (!state.defined()) state = full(parameter.shape(), initial, parameter.dtype());
    return state.mutable_data<T>().data();
  }

 private:
  friend class LRScheduler;
  void change(double* setting, double value);

  std::string name_;
  Tensors parameters_;
  std::vector<const char*> state_names_;
  std::vector<State> states_;
  std::vector<Setting> settings_;
  double* momentum_ = nullptr;
  std::optional<double> initial_lr_;  // the rate before the first scheduler touched it
};

}  // namespace retort
