#include "retort/optim/sgd.hpp"

#include <utility>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/kernels/optimizer_updates.hpp"

namespace retort {

SGD::SGD(Tensors parameters, SGDOptions options) : SGD({{std::move(parameters), options}}) {}

SGD::SGD(std::vector<ParameterGroup<SGDOptions>> groups) : Optimizer("SGD", {"momentum_buffer"}) {
  for (auto& group : groups) add_group(std::move(group));
  require_parameters();
}

void SGD::add_group(ParameterGroup<SGDOptions> group) {
  const SGDOptions& o = group.options;
  append(std::move(group.parameters), {{"lr", o.lr, at_least_0},
                                       {"momentum", o.momentum, at_least_0},
                                       {"dampening", o.dampening, any},
                                       {"weight_decay", o.weight_decay, at_least_0},
                                       {"nesterov", double(o.nesterov), flag},
                                       {"maximize", double(o.maximize), flag}});
}

void SGD::check_options() const {
  const auto [lr, momentum, dampening, weight_decay, nesterov] = options<5>();
  if (nesterov == 0) return;
  require(momentum > 0, "momentum", momentum, "greater than 0 with nesterov");
  require(dampening == 0, "dampening", dampening, "0 with nesterov");
}

void SGD::update(const Tensor& parameter, const Tensor& gradient, State& state) {
  const auto [lr, momentum, dampening, weight_decay, nesterov, maximize] = options<6>();
  const bool first = !state.tensors[0].defined();
  const kernels::SgdUpdate step{lr, momentum, dampening, weight_decay, nesterov != 0, maximize != 0, first};
  compute_into(
      parameter.dtype(),
      [&](auto* p, const auto* g, auto* b) { kernels::sgd(p, g, b, parameter.size(), step); },
      writable(parameter), gradient,
      writable(momentum != 0 ? buffer(state.tensors[0], parameter) : Tensor()));
}

}  // namespace retort
