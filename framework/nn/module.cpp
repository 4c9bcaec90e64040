#include "retort/framework/nn/module.hpp"

#include <algorithm>

#include "retort/framework/core/state_checks.hpp"

namespace retort {
namespace detail {

void destroy(Recording* recording) noexcept { delete recording; }

std::string take_name(const char*& names) {
  const std::string_view rest(names);
  const std::string_view text = rest.substr(0, rest.find(','));
  names += text.size() + (text.size() < rest.size() ? 1 : 0);
  const std::size_t first = text.find_first_not_of(" \t\n");
  return first == text.npos ? std::string()
                            : std::string(text.substr(first, text.find_last_not_of(" \t\n") - first + 1));
}

}  // namespace detail

Tensor Module::output(Tensor y) const {
  if (recordings_.empty()) return y;
  std::erase_if(recordings_, [](const auto& recording) { return !recording->is_active; });
  for (const auto& recording : recordings_) recording->output = y;
  return y;
}

std::vector<detail::Member> Module::members() const {
  std::vector<detail::Member> found;
  retort_members(found);
  return found;
}

void Module::append_state(const std::string& prefix, std::vector<detail::Member>& state) const {
  for (detail::Member& member : members()) {
    member.name = prefix + member.name;
    if (member.child) {
      member.child->append_state(member.name + ".", state);
    } else {
      state.push_back(std::move(member));
    }
  }
}

std::vector<detail::Member> Module::state() const {
  std::vector<detail::Member> state;
  append_state("", state);
  return state;
}

std::vector<detail::Member> detail::MemberAccess::state(const Module& module) { return module.state(); }

std::vector<std::pair<std::string, Tensor>> Module::named(bool buffers) const {
  std::vector<std::pair<std::string, Tensor>> result;
  for (detail::Member& member : state()) {
    const auto same = [&](const auto& earlier) {
      return detail::Access::same(earlier.second, member.tensor);
    };
    if (member.is_buffer == buffers && std::ranges::none_of(result, same))
      result.emplace_back(std::move(member.name), std::move(member.tensor));
  }
  return result;
}

namespace {

Tensors without_names(std::vector<std::pair<std::string, Tensor>> named) {
  Tensors tensors;
  for (auto& [name, tensor] : named) tensors.push_back(std::move(tensor));
  return tensors;
}

}  // namespace

Tensors Module::parameters() const { return without_names(named_parameters()); }
std::vector<std::pair<std::string, Tensor>> Module::named_parameters() const { return named(false); }
Tensors Module::buffers() const { return without_names(named_buffers()); }
std::vector<std::pair<std::string, Tensor>> Module::named_buffers() const { return named(true); }

std::vector<std::pair<std::string, Module*>> Module::named_children() {
  std::vector<std::pair<std::string, Module*>> children;
  // The list of members is const for all callers; here the module itself is not const, so its members may
  // change.
  for (detail::Member& member : members())
    if (member.child) children.emplace_back(std::move(member.name), const_cast<Module*>(member.child));
  return children;
}

void Module::train(bool mode) {
  training_ = mode;
  for (const auto& [name, child] : named_children()) child->train(mode);
}

void Module::set_requires_grad(bool value) {
  for (const Tensor& parameter : parameters())
    if (is_floating_point(parameter.dtype())) parameter.set_requires_grad(value);
}

void Module::zero_grad() {
  for (const Tensor& parameter : parameters()) parameter.zero_grad();
}

void Module::to(DType dtype) {
  if (!is_floating_point(dtype))
    throw TypeError(message("Module::to: a module is float32 or float64, not {}", dtype));
  struct Conversion {
    Tensor tensor, values, gradient;
  };
  std::vector<Conversion> conversions;
  for (const detail::Member& member : state()) {
    const Tensor& tensor = member.tensor;
    if (!tensor.is_leaf())
      throw GraphError(
          message("Module::to: {} is the result of an operation; a member must be a leaf", member.name));
    const auto same = [&](const Conversion& earlier) { return detail::Access::same(earlier.tensor, tensor); };
    if (!is_floating_point(tensor.dtype()) || tensor.dtype() == dtype ||
        std::ranges::any_of(conversions, same))
      continue;
    const Tensor gradient = tensor.grad();
    conversions.push_back(
        {tensor, tensor.detach().to(dtype), gradient.defined() ? gradient.detach().to(dtype) : Tensor()});
  }
  for (const auto& [tensor, values, gradient] : conversions) {
    detail::Access::replace_array(tensor, detail::Access::array(values));
    if (gradient.defined()) tensor.set_grad(gradient);
  }
}

StateDict Module::state_dict() const {
  StateDict dict;
  for (const detail::Member& member : state()) dict[member.name] = member.tensor.detach().clone();
  return dict;
}

void Module::load_state_dict(const StateDict& dict) {
  const std::vector<detail::Member> own = state();
  std::vector<detail::ExpectedEntry> expected;
  for (const detail::Member& member : own) expected.push_back({member.name, member.tensor.shape()});
  detail::check_state("load_state_dict", dict, expected);
  Tensors values;  // all are converted before the first is copied, since memory may run out
  for (const detail::Member& member : own)
    values.push_back(dict.at(member.name).detach().to(member.tensor.dtype()));
  for (std::size_t i = 0; i < own.size(); ++i) detail::copy_values(values[i], own[i].tensor);
}

}  // namespace retort
