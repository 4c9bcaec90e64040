#include "retort/optim/lion.hpp"

#include "retort/framework/core/compute.hpp"
#include "retort/framework/kernels/optimizer_updates.hpp"

namespace retort {

Lion::Lion(Tensors parameters, LionOptions options) : Lion({{std::move(parameters), options}}) {}

Lion::Lion(std::vector<ParameterGroup<LionOptions>> groups) : Optimizer("Lion", {"exp_avg"}) {
  for (auto& group : groups) add_group(std::move(group));
  require_parameters();
}

void Lion::add_group(ParameterGroup<LionOptions> group) {
  const LionOptions& o = group.options;
  append(std::move(group.parameters), {{"lr", o.lr, at_least_0},
                                       {"betas.0", o.betas.first, from_0_below_1},
                                       {"betas.1", o.betas.second, from_0_below_1},
                                       {"weight_decay", o.weight_decay, at_least_0},
                                       {"maximize", double(o.maximize), flag}});
}

void Lion::update(const Tensor& parameter, const Tensor& gradient, State& state) {
  const auto [lr, beta1, beta2, weight_decay, maximize] = options<5>();
  const kernels::LionUpdate step{lr, beta1, beta2, weight_decay, maximize != 0};
  compute_into(
      parameter.dtype(),
      [&](auto* p, const auto* g, auto* m) { kernels::lion(p, g, m, parameter.size(), step); },
      writable(parameter), gradient, writable(buffer(state.tensors[0], parameter)));
}

}  // namespace retort
