#include "retort/optim/optimizer.hpp"

#include <string_view>
#include <unordered_set>
#include <utility>

namespace retort {
namespace {

Tensor number(double value) { return full({}, value, DType::float64); }
Tensor count(std::int64_t value) { return full({}, value, DType::int64); }

/// A copy for a state dict, where an empty tensor represents an undefined one.
Tensor copy_or_empty(const Tensor& tensor, DType dtype) {
  return tensor.defined() ? tensor.detach().clone() : empty({0}, dtype);
}

/// A copy of an entry in the parameter's type; undefined if the entry is empty.
Tensor copy_or_none(const Tensor& entry, const Tensor& parameter) {
  if (entry.shape() != parameter.shape()) return {};
  const Tensor copy = empty(parameter.shape(), parameter.dtype());
  detail::copy_values(entry, copy);
  return copy;
}

}  // namespace

Optimizer::Optimizer(const char* name, Tensors parameters, std::vector<const char*> state_names,
                     std::vector<Option> options)
    : name_(name),
      parameters_(std::move(parameters)),
      state_names_(std::move(state_names)),
      states_(parameters_.size()),
      options_(std::move(options)) {
  if (options_.empty() || options_.front().name != std::string_view("lr"))
    throw ValueError(message("{}: the first option must be the learning rate, \"lr\"", name_));
  std::unordered_set<std::string_view> names{"step"};  // an entry of its own in the state dict
  for (const char* state : state_names_)
    if (!names.insert(state).second)
      throw ValueError(
          message("{}: the state name \"{}\" is taken; give each state a name of its own", name_, state));
  if (const std::size_t most = State().tensors.size(); state_names_.size() > most)
    throw ValueError(message("{}: {} state names are given; a parameter has at most {} states", name_,
                             state_names_.size(), most));
  names.clear();
  for (const Option& option : options_)
    if (!names.insert(option.name).second)
      throw ValueError(message("{}: the option \"{}\" is given twice", name_, option.name));
  for (const Option& option : options_)
    require(option.range.accepts(option.value), option.name, option.value, option.range.text);
  if (parameters_.empty())
    throw ValueError(
        message("{}: the list of parameters is empty; does the module list them in RETORT_MEMBERS?", name_));
  std::unordered_set<const Array*> seen;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& parameter = parameters_[i];
    if (!parameter.defined()) throw ValueError(message("{}: parameter {} is undefined", name_, i));
    if (!is_floating_point(parameter.dtype()))
      throw TypeError(message("{}: parameter {} is {}; only float32 and float64 can be trained", name_, i,
                              parameter.dtype()));
    if (!parameter.is_leaf())
      throw ValueError(
          message("{}: parameter {} of shape {} is the result of an operation; only a leaf keeps its "
                  "gradient",
                  name_, i, parameter.shape()));
    if (!seen.insert(&parameter.array()).second)
      throw ValueError(message("{}: parameter {} of shape {} is listed twice and would be updated twice",
                               name_, i, parameter.shape()));
  }
}

void Optimizer::require(bool fits, const char* setting, double value, const char* range) const {
  if (!fits) throw ValueError(message("{}: {} is {}; it must be {}", name_, setting, value, range));
}

void Optimizer::step() {
  require(lr() >= 0, options_.front().name, lr(), options_.front().range.text);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& parameter = parameters_[i];
    const Tensor gradient = parameter.grad();
    if (!gradient.defined()) continue;
    State& state = states_[i];
    for (Tensor& tensor : state.tensors)  // the module may have been converted since
      if (tensor.defined() && tensor.dtype() != parameter.dtype()) tensor = tensor.to(parameter.dtype());
    ++state.step;
    update(parameter, gradient, state);
  }
}

void Optimizer::zero_grad() {
  for (const Tensor& parameter : parameters_) parameter.zero_grad();
}

void Optimizer::change(Option& option, double value) {
  require(option.range.accepts(value), option.name, value, option.range.text);
  const double before = std::exchange(option.value, value);
  try {
    check_options();
  } catch (...) {
    option.value = before;
    throw;
  }
}

Optimizer::Option* Optimizer::momentum_option() {
  for (Option& option : options_)
    if (option.name == std::string_view("momentum") || option.name == std::string_view("betas.0"))
      return &option;
  return nullptr;
}

void Optimizer::set_lr(double lr) { change(options_.front(), lr); }

std::optional<double> Optimizer::momentum() const {
  const Option* option = const_cast<Optimizer*>(this)->momentum_option();
  return option ? std::optional<double>(option->value) : std::nullopt;
}

void Optimizer::set_momentum(double momentum) {
  Option* option = momentum_option();
  if (!option) throw ValueError(message("{}: this optimiser has no momentum to set", name_));
  change(*option, momentum);
}

StateDict Optimizer::state_dict() const {
  StateDict dict;
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const std::string prefix = message("state.{}.", i);
    dict[prefix + "step"] = count(states_[i].step);
    for (std::size_t k = 0; k < state_names_.size(); ++k)
      dict[prefix + state_names_[k]] = copy_or_empty(states_[i].tensors[k], parameters_[i].dtype());
  }
  const std::string prefix = "param_groups.0.";
  for (const Option& option : options_)
    dict[prefix + option.name] =
        option.range.accepts == flag.accepts ? count(option.value != 0) : number(option.value);
  dict[prefix + "initial_lr"] = initial_lr_ ? number(*initial_lr_) : empty({0}, DType::float64);
  dict[prefix + "params"] = arange(static_cast<std::int64_t>(parameters_.size()));
  return dict;
}

void Optimizer::load_state_dict(const StateDict& dict) {
  std::vector<detail::ExpectedEntry> expected;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const std::string prefix = message("state.{}.", i);
    expected.push_back({prefix + "step", {}});
    for (const char* state_name : state_names_)
      expected.push_back({prefix + state_name, parameters_[i].shape(), true});
  }
  const std::string group = "param_groups.0.";
  for (const Option& option : options_) expected.push_back({group + option.name, {}});
  expected.push_back({group + "initial_lr", {}, true});
  expected.push_back({group + "params", {static_cast<std::int64_t>(parameters_.size())}});
  detail::check_state(name_ + "::load_state_dict", dict, expected);

  std::vector<State> states(parameters_.size());
  for (std::size_t i = 0; i < states.size(); ++i) {
    const std::string prefix = message("state.{}.", i);
    const auto steps = dict.at(prefix + "step").item<double>();
    require(steps >= 0 && steps < 0x1p53, (prefix + "step").c_str(), steps, "a count");
    states[i].step = static_cast<std::int64_t>(steps);
    for (std::size_t k = 0; k < state_names_.size(); ++k)
      states[i].tensors[k] = copy_or_none(dict.at(prefix + state_names_[k]), parameters_[i]);
  }
  const Tensor& initial_lr = dict.at(group + "initial_lr");
  const std::optional<double> initial =
      initial_lr.size() == 1 ? std::optional<double>(initial_lr.item<double>()) : std::nullopt;

  std::vector<Option> options = options_;
  for (Option& option : options) {
    option.value = dict.at(group + option.name).item<double>();
    require(option.range.accepts(option.value), option.name, option.value, option.range.text);
  }
  options_.swap(options);
  try {
    check_options();
  } catch (...) {
    options_.swap(options);
    throw;
  }
  states_ = std::move(states);
  initial_lr_ = initial;
}

}  // namespace retort
