#include "retort/optim/rmsprop.hpp"

#include <utility>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/kernels/optimizer_updates.hpp"

namespace retort {

RMSprop::RMSprop(Tensors parameters, RMSpropOptions options) : RMSprop({{std::move(parameters), options}}) {}

RMSprop::RMSprop(std::vector<ParameterGroup<RMSpropOptions>> groups)
    : Optimizer("RMSprop", {"square_avg", "grad_avg", "momentum_buffer"}) {
  for (auto& group : groups) add_group(std::move(group));
  require_parameters();
}

void RMSprop::add_group(ParameterGroup<RMSpropOptions> group) {
  const RMSpropOptions& o = group.options;
  append(std::move(group.parameters), {{"lr", o.lr, at_least_0},
                                       {"alpha", o.alpha, from_0_to_1},
                                       {"eps", o.eps, at_least_0},
                                       {"weight_decay", o.weight_decay, at_least_0},
                                       {"momentum", o.momentum, at_least_0},
                                       {"centered", double(o.centered), flag},
                                       {"maximize", double(o.maximize), flag}});
}

void RMSprop::update(const Tensor& parameter, const Tensor& gradient, State& state) {
  const auto [lr, alpha, eps, weight_decay, momentum, centered, maximize] = options<7>();
  const kernels::RmspropUpdate step{lr, alpha, eps, weight_decay, momentum, centered != 0, maximize != 0};
  auto& [square_average, average, velocity] = state.tensors;
  compute_into(
      parameter.dtype(),
      [&](auto* p, const auto* g, auto* s, auto* a, auto* b) {
        kernels::rmsprop(p, g, s, a, b, parameter.size(), step);
      },
      writable(parameter), gradient, writable(buffer(square_average, parameter)),
      writable(centered != 0 ? buffer(average, parameter) : Tensor()),
      writable(momentum > 0 ? buffer(velocity, parameter) : Tensor()));
}

}  // namespace retort
