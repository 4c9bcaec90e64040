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

/// Base of the optimisers. It holds handles to the parameters, which are leaves that require a gradient, and writes
/// their values; it never changes a gradient. Optimisers can be neither copied nor moved, since schedulers refer to
/// them.
///
/// A derived class passes its options to the constructor once, with names and ranges, and overrides update():
/// there it reads their current values with options<N>(), in the same order.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// The parameters, in the order of the constructor.
  const Tensors& parameters() const { return parameters_; }

  /// Updates every parameter that has a gradient. A parameter without one keeps its value and its state.
  /// Throws: ValueError if a schedule has left the learning rate negative or NaN.
  void step();
  /// Makes the gradients of all parameters undefined.
  void zero_grad();

  /// The learning rate of the next step.
  double lr() const { return options_.front().value; }
  /// Throws: ValueError for a negative rate or NaN.
  void set_lr(double lr);
  /// The momentum, in the Adam family beta1; empty for an optimiser without one.
  std::optional<double> momentum() const;
  /// Throws: ValueError for an optimiser without momentum, or a value out of range.
  void set_momentum(double momentum);

  /// A copy of everything besides the parameters that the next step depends on: `state.0.step`, `state.0.exp_avg`, …
  /// of each parameter (of shape (0) before its first step), `param_groups.0.lr` and the other options.
  StateDict state_dict() const;
  /// Restores what state_dict() returned, options included, so that training resumes with the same bits.
  /// Throws: ValueError that lists every entry that is missing, unexpected or of another shape, or an option out of
  /// range. The optimiser is then unchanged.
  void load_state_dict(const StateDict& state);

 protected:
  /// What an optimiser keeps per parameter.
  struct State {
    std::int64_t step = 0;
    std::array<Tensor, 3> tensors = {};  ///< undefined until needed, then of the parameter's shape and type
  };
  /// The values that an option accepts: those for which accepts(value) is true, in words for the error.
  struct Range {
    /// The test, and its description.
    bool (*accepts)(double);
    const char* text;
  };
  /// The usual ranges.
  static constexpr Range any{[](double) { return true; }, "a number"};
  static constexpr Range at_least_0{[](double value) { return value >= 0; }, "at least 0"};
  static constexpr Range from_0_to_1{[](double value) { return value >= 0 && value <= 1; }, "in [0, 1]"};
  static constexpr Range from_0_below_1{[](double value) { return value >= 0 && value < 1; }, "in [0, 1)"};
  static constexpr Range flag{[](double value) { return value == 0 || value == 1; }, "0 or 1"};
  /// An option of an optimiser: its name in the state dict, its value and its range.
  struct Option {
    /// The three parts.
    const char* name;
    double value;
    Range range;
  };

  /// `state_names` name State::tensors in the state dict; `options` starts with the learning rate. The option named
  /// "momentum" or "betas.0" is the one that momentum() reads.
  /// Throws: ValueError if there is no parameter, or if one is undefined, the result of an operation or listed twice;
  /// TypeError for an int64 parameter; ValueError for an option out of its range.
  Optimizer(const char* name, Tensors parameters, std::vector<const char*> state_names,
            std::vector<Option> options);

  /// Moves `parameter` by one step. Called for each parameter that has a gradient; state.step counts from 1.
  virtual void update(const Tensor& parameter, const Tensor& gradient, State& state) = 0;
  /// Throws ValueError for options that exclude one another. Called after any of them has changed.
  virtual void check_options() const {}

  /// The current values of the first N options, in the order of the constructor.
  template <std::size_t N>
  std::array<double, N> options() const {
    std::array<double, N> values{};
    for (std::size_t i = 0; i < N; ++i) values[i] = options_[i].value;
    return values;
  }
  /// Throws the ValueError for an option out of range unless `fits`.
  void require(bool fits, const char* option, double value, const char* range) const;
  /// `state` as a buffer to be updated, filled with `initial` at the first call.
  static const Tensor& buffer(Tensor& state, const Tensor& parameter, double initial = 0) {
    if (!state.defined()) state = full(parameter.shape(), initial, parameter.dtype());
    return state;
  }

 private:
  friend class LRScheduler;
  void change(Option& option, double value);
  Option* momentum_option();

  std::string name_;
  Tensors parameters_;
  std::vector<const char*> state_names_;
  std::vector<State> states_;
  std::vector<Option> options_;
  std::optional<double> initial_lr_;  // the rate before the first scheduler changed it
};

}  // namespace retort
