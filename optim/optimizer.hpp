// The base of all optimisers: parameters in groups, their options and state, and how these are saved and
// restored.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "retort/framework/core/factories.hpp"
#include "retort/framework/core/state_dict.hpp"
#include "retort/framework/core/tensor.hpp"

namespace retort {

class Module;

/// Parameters that an optimiser trains with options of their own:
///
///     auto [decayed, others] = rt::decay_groups(model);
///     rt::AdamW optimizer({{decayed, {.lr = 1e-3, .weight_decay = 0.05}},
///                          {others, {.lr = 1e-3, .weight_decay = 0}}});
template <class Options>
struct ParameterGroup {
  Tensors parameters = {};
  Options options = {};
};

/// Base of the optimisers. It holds handles to the parameters, which are leaves, and writes their values; it
/// never changes a gradient. Optimisers can be neither copied nor moved, because schedulers refer to them.
///
/// A derived class passes its options to the constructor once, with names and ranges, and overrides update():
/// there it reads their current values with options<N>(), in the same order.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// The parameters of all groups, in the order of the groups.
  const Tensors& parameters() const { return parameters_; }

  /// Updates every parameter that has a gradient and requires one. Any other keeps its value and its state: a
  /// part of a model is frozen and thawed with set_requires_grad.
  /// Throws: ValueError if a schedule has left a learning rate negative.
  void step();
  /// Makes the gradients of all parameters undefined.
  void zero_grad();

  /// The number of parameter groups.
  std::int64_t group_count() const { return static_cast<std::int64_t>(groups_.size()); }
  /// The learning rate of a group. Throws: IndexError if there is no group of that number.
  double lr(std::int64_t group = 0) const { return group_at(group).options.front().value; }
  /// Sets the rate of every group. Throws: ValueError for a rate that is negative or not finite; then
  /// nothing has changed.
  void set_lr(double lr);
  /// Sets the rate of one group. Throws: as the other, and IndexError if there is no group of that number.
  void set_lr(double lr, std::int64_t group);
  /// The momentum, in the Adam family and Lion beta1; empty for an optimiser without one.
  std::optional<double> momentum(std::int64_t group = 0) const;
  /// Sets the momentum of every group.
  /// Throws: ValueError for an optimiser without momentum, or a value out of range; then nothing has changed.
  void set_momentum(double momentum);

  /// A copy of everything besides the parameters that the next step depends on: `state.0.step`,
  /// `state.0.exp_avg`, … of each parameter (of shape (0) before its first step), `param_groups.0.lr` and the
  /// other options of each group.
  virtual StateDict state_dict() const;
  /// Restores what state_dict() returned, options included, so that training resumes with the same bits.
  /// Throws: ValueError for the state of another number of groups or parameters, or of another kind of
  /// optimiser; that lists every entry that is missing, unexpected or of another shape; or an option out of
  /// range. The optimiser is then unchanged.
  virtual void load_state_dict(const StateDict& state);

 protected:
  /// The state that an optimiser keeps per parameter.
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
  /// The usual ranges, of finite numbers: inf - inf is NaN.
  static constexpr Range any{[](double value) { return value - value == 0; }, "a finite number"};
  static constexpr Range at_least_0{[](double value) { return value >= 0 && value - value == 0; },
                                    "at least 0"};
  static constexpr Range at_least_1{[](double value) { return value >= 1 && value - value == 0; },
                                    "at least 1"};
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

  /// `state_names` name State::tensors in the state dict; `options` starts with the learning rate. The option
  /// named "momentum" or "betas.0" is the one that momentum() reads.
  /// Throws: ValueError if there is no parameter, or if one is undefined, the result of an operation or
  /// listed twice; TypeError for an int64 parameter; ValueError for an option out of its range.
  Optimizer(const char* name, Tensors parameters, std::vector<const char*> state_names,
            std::vector<Option> options);
  /// An optimiser that calls append() for each of its groups, and require_parameters().
  Optimizer(const char* name, std::vector<const char*> state_names);

  /// Adds a group, which may be empty. All groups have the same options in the same order.
  /// Throws: as the constructor; then nothing has changed.
  void append(Tensors parameters, std::vector<Option> options);
  /// Throws: ValueError if no group has a parameter.
  void require_parameters() const;

  /// Moves `parameter` by one step. Called for each parameter that has a gradient; state.step counts from 1.
  virtual void update(const Tensor& parameter, const Tensor& gradient, State& state) = 0;
  /// Throws ValueError for options that exclude one another. Called after any of them has changed.
  virtual void check_options() const {}

  /// The current values of the first N options, in the order of the constructor, of the group that is updated
  /// or checked.
  template <std::size_t N>
  std::array<double, N> options() const {
    std::array<double, N> values{};
    for (std::size_t i = 0; i < N; ++i) values[i] = groups_[active_].options[i].value;
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
  struct Group {
    std::size_t end;  ///< where its parameters end in parameters_
    std::vector<Option> options;
    std::optional<double> initial_lr = {};  ///< the rate before the first scheduler changed it
  };
  const Group& group_at(std::int64_t group) const;
  void require_rate(const Group& group, double rate) const;
  void check_parameters(const Tensors& added) const;
  void check_kind(const StateDict& state) const;
  template <class F>
  void change(F f);
  static Option* momentum_of(Group& group);

  std::string name_;
  Tensors parameters_;
  std::vector<const char*> state_names_;
  std::vector<State> states_;
  std::vector<Group> groups_;
  std::size_t active_ = 0;  // the group that options() reads
};

/// The parameters of a module with two or more dimensions, and all others (biases, scales of norms), which
/// weight decay usually leaves out. A tied weight is listed once.
[[nodiscard]] std::pair<Tensors, Tensors> decay_groups(const Module& module);

}  // namespace retort
