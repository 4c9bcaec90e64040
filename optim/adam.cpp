#include "retort/optim/adam.hpp"

#include <string>
#include <utility>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/kernels/optimizer_updates.hpp"

namespace retort {
namespace {

constexpr const char* kind_entry = "decoupled_weight_decay";  // PyTorch's name

}  // namespace

Adam::Adam(Tensors parameters, AdamOptions options) : Adam({{std::move(parameters), options}}) {}

Adam::Adam(std::vector<ParameterGroup<AdamOptions>> groups) : Adam("Adam", false) {
  for (auto& group : groups) add_group(std::move(group));
  require_parameters();
}

Adam::Adam(const char* name, bool decoupled)
    : Optimizer(name, {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}), decoupled_(decoupled) {}

void Adam::add_group(ParameterGroup<AdamOptions> group) {
  const AdamOptions& o = group.options;
  append(std::move(group.parameters), {{"lr", o.lr, at_least_0},
                                       {"betas.0", o.betas.first, from_0_below_1},
                                       {"betas.1", o.betas.second, from_0_below_1},
                                       {"eps", o.eps, at_least_0},
                                       {"weight_decay", o.weight_decay, at_least_0},
                                       {"amsgrad", double(o.amsgrad), flag},
                                       {"maximize", double(o.maximize), flag}});
}

StateDict Adam::state_dict() const {
  StateDict dict = Optimizer::state_dict();
  for (std::int64_t group = 0; group < group_count(); ++group)
    dict[message("param_groups.{}.{}", group, kind_entry)] = full({}, decoupled_ ? 1 : 0, DType::int64);
  return dict;
}

void Adam::load_state_dict(const StateDict& dict) {
  StateDict rest = dict;
  for (std::int64_t group = 0; group < group_count(); ++group) {
    const std::string entry = message("param_groups.{}.{}", group, kind_entry);
    const auto kind = rest.find(entry);
    if (kind == rest.end()) continue;
    if (kind->second.size() != 1 || kind->second.item<double>() != (decoupled_ ? 1 : 0))
      throw ValueError(message(
          "{}::load_state_dict: the state is of {}, whose weight decay differs; load it into an optimiser of "
          "the same class",
          decoupled_ ? "AdamW" : "Adam", decoupled_ ? "Adam" : "AdamW"));
    rest.erase(entry);
  }
  Optimizer::load_state_dict(rest);
}

void Adam::update(const Tensor& parameter, const Tensor& gradient, State& state) {
  const auto [lr, beta1, beta2, eps, weight_decay, amsgrad, maximize] = options<7>();
  const kernels::AdamUpdate step{lr, beta1, beta2, eps, weight_decay, decoupled_, maximize != 0, state.step};
  auto& [mean, square, largest] = state.tensors;
  compute_into(
      parameter.dtype(),
      [&](auto* p, const auto* g, auto* m, auto* v, auto* v_max) {
        kernels::adam(p, g, m, v, v_max, parameter.size(), step);
      },
      writable(parameter), gradient, writable(buffer(mean, parameter)), writable(buffer(square, parameter)),
      writable(amsgrad != 0 ? buffer(largest, parameter) : Tensor()));
}

AdamW::AdamW(Tensors parameters, AdamWOptions options) : AdamW({{std::move(parameters), options}}) {}

AdamW::AdamW(std::vector<ParameterGroup<AdamWOptions>> groups) : Adam("AdamW", true) {
  for (auto& group : groups) add_group(std::move(group));
  require_parameters();
}

void AdamW::add_group(ParameterGroup<AdamWOptions> group) {
  const auto& [lr, betas, eps, weight_decay, amsgrad, maximize] = group.options;
  Adam::add_group({std::move(group.parameters), {lr, betas, eps, weight_decay, amsgrad, maximize}});
}

}  // namespace retort
