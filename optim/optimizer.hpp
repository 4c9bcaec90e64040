// Base class of optimisers: parameter groups with their options and state, and how these are saved and
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

namespace [[RETORT_EXPORT]] retort {

class Module;

/// Parameters with their own options:
///
///     auto [decayed, others] = rt::decay_groups(model);
///     rt::AdamW optimizer({{decayed, {.lr = 1e-3, .weight_decay = 0.05}},
///                          {others, {.lr = 1e-3, .weight_decay = 0}}});
template <class Options>
struct ParameterGroup {
  Tensors parameters = {};
  Options options = {};
};

/// Base class of optimisers. It holds handles to the parameters, which are leaves, and writes their values;
/// it never changes a gradient. Optimisers cannot be copied or moved, since schedulers refer to them.
///
/// A derived class passes its options to the constructor, with names and ranges, and overrides update(),
/// which reads their current values, in the same order, with options<N>().
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// The parameters of all groups, in the order of the groups.
  const Tensors& parameters() const { return parameters_; }

  /// Updates every parameter that has a gradient and requires one. All others keep their values and states;
  /// use set_requires_grad to freeze and unfreeze parts of a model.
  /// Throws: ValueError if a schedule has left a learning rate negative.
  void step();
  /// Removes the gradients of all parameters.
  void zero_grad();

  /// Number of parameter groups.
  std::int64_t group_count() const { return static_cast<std::int64_t>(groups_.size()); }
  /// The learning rate of a group.
  /// Throws: IndexError if there is no such group.
  double lr(std::int64_t group = 0) const { return group_at(group).options.front().value; }
  /// Sets the learning rate of all groups.
  /// Throws: ValueError if it is negative or not finite; nothing is then changed.
  void set_lr(double lr);
  /// Sets the learning rate of one group.
  /// Throws: ValueError if it is negative or not finite; IndexError if there is no such group.
  void set_lr(double lr, std::int64_t group);
  /// The momentum (Adam family and Lion: beta1); empty if the optimiser has none.
  std::optional<double> momentum(std::int64_t group = 0) const;
  /// Sets the momentum of all groups.
  /// Throws: ValueError if the optimiser has no momentum or the value is out of range; nothing is then
  /// changed.
  void set_momentum(double momentum);

  /// A copy of the state, except for the parameters, on which the next step depends: `state.0.step`,
  /// `state.0.exp_avg`, … of each parameter (of shape (0) before its first step), `param_groups.0.lr` and the
  /// other options of each group; and `class.SGD`, an entry without elements that names the class.
  virtual StateDict state_dict() const;
  /// Restores a state_dict(), including the options, so that training resumes with the same bits.
  /// Throws: ValueError listing all missing, unexpected and misshaped entries, or if the state is of a
  /// different class or an option is out of range. The optimiser is then unchanged.
  virtual void load_state_dict(const StateDict& state);

 protected:
  /// The state that an optimiser keeps per parameter.
  struct State {
    std::int64_t step = 0;
    std::array<Tensor, 3> tensors = {};  ///< undefined until needed, then with the parameter's shape and type
  };
  /// The values that an option accepts.
  struct Range {
    bool (*accepts)(double);  ///< returns true if the value is accepted
    const char* text;         ///< describes the range in errors
  };
  /// Any finite number.
  static constexpr Range any{[](double value) { return value - value == 0; }, "a finite number"};
  /// x >= 0, finite.
  static constexpr Range at_least_0{[](double value) { return value >= 0 && value - value == 0; },
                                    "at least 0"};
  /// x >= 1, finite.
  static constexpr Range at_least_1{[](double value) { return value >= 1 && value - value == 0; },
                                    "at least 1"};
  /// 0 <= x <= 1.
  static constexpr Range from_0_to_1{[](double value) { return value >= 0 && value <= 1; }, "in [0, 1]"};
  /// 0 <= x < 1.
  static constexpr Range from_0_below_1{[](double value) { return value >= 0 && value < 1; }, "in [0, 1)"};
  /// 0 or 1, for an option that is a bool.
  static constexpr Range flag{[](double value) { return value == 0 || value == 1; }, "0 or 1"};
  /// An option: its name in the state dict, its value and its range.
  struct Option {
    const char* name;
    double value;
    Range range;
  };

  /// `state_names` are the names of State::tensors in the state dict; `options` starts with the learning
  /// rate. momentum() returns the option named "momentum" or "betas.0".
  /// Throws: ValueError if there is no parameter, a parameter is undefined, the result of an operation or
  /// listed twice, or an option is out of range; TypeError if a parameter is int64.
  Optimizer(const char* name, Tensors parameters, std::vector<const char*> state_names,
            std::vector<Option> options);
  /// For derived classes that call append() for each group and then require_parameters().
  Optimizer(const char* name, std::vector<const char*> state_names);

  /// Adds a group, which may be empty. All groups have the same options in the same order.
  /// Throws: the errors of the constructor; nothing is then changed.
  void append(Tensors parameters, std::vector<Option> options);
  /// Throws: ValueError if no group has a parameter.
  void require_parameters() const;

  /// Performs one step for `parameter`. Called for each parameter with a gradient; state.step counts from 1.
  virtual void update(const Tensor& parameter, const Tensor& gradient, State& state) = 0;
  /// Throws ValueError if options exclude each other. Called after any option has changed.
  virtual void check_options() const {}

  /// The current values of the first N options, in the order of the constructor, of the group being updated
  /// or checked.
  template <std::size_t N>
  std::array<double, N> options() const {
    std::array<double, N> values{};
    const Option* const all = first_options(N);
    for (std::size_t i = 0; i < N; ++i) values[i] = all[i].value;
    return values;
  }
  /// Throws: ValueError naming the option unless `fits`.
  void require(bool fits, const char* option, double value, const char* range) const;
  /// Returns `state` as a buffer to update, filled with `initial` on the first call.
  static const Tensor& buffer(Tensor& state, const Tensor& parameter, double initial = 0) {
    if (!state.defined()) state = full(parameter.shape(), initial, parameter.dtype());
    return state;
  }

 private:
  const Option* first_options(std::size_t count) const;
  void check_named(const State& state, const Tensor& parameter) const;
  friend class LRScheduler;
  struct Group {
    std::size_t end;  ///< end of its parameters in parameters_
    std::vector<Option> options;
    std::optional<double> initial_lr = {};  ///< the rate before any scheduler changed it
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
  std::size_t active_ = 0;  // the group read by options()
};

/// The parameters of a module with two or more dimensions, and all others (biases, norm weights), which are
/// usually excluded from weight decay. A tied weight is listed once.
[[nodiscard]] std::pair<Tensors, Tensors> decay_groups(const Module& module);

}  // namespace retort
