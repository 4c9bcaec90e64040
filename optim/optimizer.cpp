#include "retort/optim/optimizer.hpp"

#include <numeric>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/core/state_checks.hpp"
#include "retort/framework/nn/module.hpp"

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

Optimizer::Optimizer(const char* name, std::vector<const char*> state_names)
    : name_(name), state_names_(std::move(state_names)) {
  std::unordered_set<std::string_view> names{"step"};  // "step" is an entry of the state dict too
  for (const char* state : state_names_)
    if (!state || std::string_view(state).empty())
      throw ValueError(message("{}: a state name is empty; give each state a name", name_));
    else if (!names.insert(state).second)
      throw ValueError(
          message("{}: the state name \"{}\" is taken; give each state a name of its own", name_, state));
  if (const std::size_t most = State().tensors.size(); state_names_.size() > most)
    throw ValueError(message("{}: {} state names are given; a parameter has at most {} states", name_,
                             state_names_.size(), most));
}

Optimizer::Optimizer(const char* name, Tensors parameters, std::vector<const char*> state_names,
                     std::vector<Option> options)
    : Optimizer(name, std::move(state_names)) {
  append(std::move(parameters), std::move(options));
  require_parameters();
}

void Optimizer::append(Tensors parameters, std::vector<Option> options) {
  if (options.empty() || options.front().name != std::string_view("lr"))
    throw ValueError(message("{}: the first option must be the learning rate, \"lr\"", name_));
  std::unordered_set<std::string_view> names;
  for (const Option& option : options) {
    if (!names.insert(option.name).second)
      throw ValueError(message("{}: the option \"{}\" is given twice", name_, option.name));
  }
  require(!(options.front().value < 0), "lr", options.front().value, options.front().range.text);
  check_parameters(parameters);
  change([&] { groups_.push_back({parameters_.size() + parameters.size(), std::move(options)}); });
  parameters_.insert(parameters_.end(), parameters.begin(), parameters.end());
  states_.resize(parameters_.size());
}

void Optimizer::check_parameters(const Tensors& added) const {
  std::unordered_set<const Array*> seen;
  for (const Tensor& parameter : parameters_) seen.insert(&detail::Access::array(parameter));
  for (std::size_t i = 0; i < added.size(); ++i) {
    const Tensor& parameter = added[i];
    const std::size_t place = parameters_.size() + i;
    if (!parameter.defined()) throw ValueError(message("{}: parameter {} is undefined", name_, place));
    if (!is_floating_point(parameter.dtype()))
      throw TypeError(message("{}: parameter {} is {}; only float32 and float64 can be trained", name_, place,
                              parameter.dtype()));
    if (!parameter.is_leaf())
      throw ValueError(
          message("{}: parameter {} of shape {} is the result of an operation; only a leaf keeps its "
                  "gradient",
                  name_, place, parameter.shape()));
    if (!seen.insert(&detail::Access::array(parameter)).second)
      throw ValueError(message("{}: parameter {} of shape {} is listed twice and would be updated twice",
                               name_, place, parameter.shape()));
  }
}

void Optimizer::require_parameters() const {
  if (parameters_.empty())
    throw ValueError(
        message("{}: the list of parameters is empty; does the module list them in RETORT_MEMBERS?", name_));
}

void Optimizer::require(bool fits, const char* setting, double value, const char* range) const {
  detail::require_option(fits, name_.c_str(), setting, value, std::isinf(value) ? "finite" : range);
}

const Optimizer::Group& Optimizer::group_at(std::int64_t group) const {
  if (group < 0 || group >= group_count())
    throw IndexError(message("{}: group {} is out of range [0, {})", name_, group, group_count()));
  return groups_[static_cast<std::size_t>(group)];
}

void Optimizer::require_rate(const Group& group, double rate) const {
  const Option& lr = group.options.front();
  require(rate >= 0 && lr.range.accepts(rate), lr.name, rate, lr.range.text);
}

void Optimizer::step() {
  for (const Group& group : groups_) require_rate(group, group.options.front().value);
  std::size_t i = 0;
  for (active_ = 0; active_ < groups_.size(); ++active_)
    for (const std::size_t end = groups_[active_].end; i < end; ++i) {
      const Tensor& parameter = parameters_[i];
      const Tensor gradient = parameter.grad();
      if (!gradient.defined() || !parameter.requires_grad()) continue;
      State& state = states_[i];
      for (Tensor& tensor : state.tensors)  // the module may have been converted in the meantime
        if (tensor.defined() && tensor.dtype() != parameter.dtype()) tensor = tensor.to(parameter.dtype());
      ++state.step;
      update(parameter, gradient, state);
      check_named(state, parameter);
    }
  active_ = 0;
}

// A state dict holds only states that have a name and the shape of their parameter.
void Optimizer::check_named(const State& state, const Tensor& parameter) const {
  for (std::size_t k = 0; k < state.tensors.size(); ++k) {
    const Tensor& tensor = state.tensors[k];
    if (!tensor.defined()) continue;
    if (k >= state_names_.size())
      throw ValueError(
          message("{}: update() uses state {}, which has no name and would not be saved; give the "
                  "constructor a name for each state",
                  name_, k));
    if (tensor.shape() != parameter.shape())
      throw ShapeError(
          message("{}: update() gave the state \"{}\" the shape {}; it must have the parameter's, {}", name_,
                  state_names_[k], tensor.shape(), parameter.shape()));
  }
}

const Optimizer::Option* Optimizer::first_options(std::size_t count) const {
  const std::vector<Option>& options = groups_[active_].options;
  if (options.size() < count)
    throw ValueError(
        message("{}: options<{}>() reads more options than there are, {}", name_, count, options.size()));
  return options.data();
}

void Optimizer::zero_grad() {
  for (const Tensor& parameter : parameters_) parameter.zero_grad();
}

/// Calls f, which changes options, and checks them; restores the options if either throws.
template <class F>
void Optimizer::change(F f) {
  std::vector<Group> before = groups_;
  try {
    f();
    for (active_ = 0; active_ < groups_.size(); ++active_) {
      const std::vector<Option>& options = groups_[active_].options;
      for (const Option& option : options)
        if (&option != &options.front() || !(option.value < 0))  // a schedule may leave the rate negative
          require(option.range.accepts(option.value), option.name, option.value, option.range.text);
      check_options();
    }
    active_ = 0;
  } catch (...) {
    groups_.swap(before);
    active_ = 0;
    throw;
  }
}

Optimizer::Option* Optimizer::momentum_of(Group& group) {
  for (Option& option : group.options)
    if (option.name == std::string_view("momentum") || option.name == std::string_view("betas.0"))
      return &option;
  return nullptr;
}

void Optimizer::set_lr(double lr) {
  for (const Group& group : groups_) require_rate(group, lr);
  change([&] {
    for (Group& group : groups_) group.options.front().value = lr;
  });
}

void Optimizer::set_lr(double lr, std::int64_t group) {
  require_rate(group_at(group), lr);
  change([&] { groups_[static_cast<std::size_t>(group)].options.front().value = lr; });
}

std::optional<double> Optimizer::momentum(std::int64_t group) const {
  const Option* option = momentum_of(const_cast<Group&>(group_at(group)));
  return option ? std::optional<double>(option->value) : std::nullopt;
}

void Optimizer::set_momentum(double momentum) {
  if (!this->momentum()) throw ValueError(message("{}: this optimiser has no momentum to set", name_));
  change([&] {
    for (Group& group : groups_) momentum_of(group)->value = momentum;
  });
}

StateDict Optimizer::state_dict() const {
  StateDict dict{detail::label("class", name_)};
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const std::string prefix = message("state.{}.", i);
    dict[prefix + "step"] = count(states_[i].step);
    for (std::size_t k = 0; k < state_names_.size(); ++k)
      dict[prefix + state_names_[k]] = copy_or_empty(states_[i].tensors[k], parameters_[i].dtype());
  }
  std::size_t begin = 0;
  for (std::size_t g = 0; g < groups_.size(); begin = groups_[g++].end) {
    const Group& group = groups_[g];
    const std::string prefix = message("param_groups.{}.", g);
    for (const Option& option : group.options)
      dict[prefix + option.name] =
          option.range.accepts == flag.accepts ? count(option.value != 0) : number(option.value);
    dict[prefix + "initial_lr"] = group.initial_lr ? number(*group.initial_lr) : empty({0}, DType::float64);
    std::vector<std::int64_t> positions(group.end - begin);
    std::iota(positions.begin(), positions.end(), static_cast<std::int64_t>(begin));
    dict[prefix + "params"] = tensor(positions);
  }
  return dict;
}

// Gives one reason instead of a list of all entries where a state belongs to another kind of optimiser.
void Optimizer::check_kind(const StateDict& dict) const {
  std::size_t groups = 0, parameters = 0;
  for (const auto& [name, tensor] : dict) {
    if (!name.starts_with("param_groups.") || !name.ends_with(".params") || !tensor.defined()) continue;
    ++groups;
    parameters += static_cast<std::size_t>(tensor.size());
  }
  if (groups > 0 && groups != groups_.size())
    throw ValueError(message(
        "{}::load_state_dict: the state has {}, but the optimiser has {}; construct it with the same groups",
        name_, detail::counted(groups, "parameter group"), groups_.size()));
  if (groups > 0 && parameters != parameters_.size())
    throw ValueError(
        message("{}::load_state_dict: the state has {}, but the optimiser has {}; construct it with the same "
                "parameters",
                name_, detail::counted(parameters, "parameter"), parameters_.size()));
  const std::string prefix = "param_groups.0.";
  std::unordered_set<std::string_view> own{"initial_lr", "params"};
  for (const Option& option : groups_.front().options) own.insert(option.name);
  std::string foreign, lacking;
  const auto list = [](std::string& text, std::string_view name) {
    text += text.empty() ? "" : ", ";
    text += name;
  };
  for (const auto& [name, tensor] : dict)
    if (name.starts_with(prefix) && !own.contains(std::string_view(name).substr(prefix.size())))
      list(foreign, std::string_view(name).substr(prefix.size()));
  for (const Option& option : groups_.front().options)
    if (!dict.contains(prefix + option.name)) list(lacking, option.name);
  if (!foreign.empty() && !lacking.empty())
    throw ValueError(message(
        "{}::load_state_dict: the state is of another kind of optimiser: it has the options {}, but not {}",
        name_, foreign, lacking));
}

void Optimizer::load_state_dict(const StateDict& dict) {
  std::vector<detail::ExpectedEntry> expected;
  detail::check_label(name_ + "::load_state_dict", dict, "class", name_, expected);
  check_kind(dict);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const std::string prefix = message("state.{}.", i);
    expected.push_back({prefix + "step", {}});
    for (const char* state_name : state_names_)
      expected.push_back({prefix + state_name, parameters_[i].shape(), true});
  }
  std::size_t begin = 0;
  for (std::size_t g = 0; g < groups_.size(); begin = groups_[g++].end) {
    const std::string prefix = message("param_groups.{}.", g);
    for (const Option& option : groups_[g].options) expected.push_back({prefix + option.name, {}});
    expected.push_back({prefix + "initial_lr", {}, true});
    expected.push_back({prefix + "params", {static_cast<std::int64_t>(groups_[g].end - begin)}});
  }
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
  change([&] {
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      const std::string prefix = message("param_groups.{}.", g);
      for (Option& option : groups_[g].options) option.value = dict.at(prefix + option.name).item<double>();
      const Tensor& initial = dict.at(prefix + "initial_lr");
      groups_[g].initial_lr =
          initial.size() == 1 ? std::optional<double>(initial.item<double>()) : std::nullopt;
    }
  });
  states_ = std::move(states);
}

std::pair<Tensors, Tensors> decay_groups(const Module& module) {
  std::pair<Tensors, Tensors> groups;
  for (const Tensor& parameter : module.parameters())
    (parameter.dim() >= 2 ? groups.first : groups.second).push_back(parameter);
  return groups;
}

}  // namespace retort
