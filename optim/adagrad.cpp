#include "retort/optim/adagrad.hpp"

#include <utility>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/kernels/optimizer_updates.hpp"

namespace retort {

Adagrad::Adagrad(Tensors parameters, AdagradOptions options) : Adagrad({{std::move(parameters), options}}) {}

Adagrad::Adagrad(std::vector<ParameterGroup<AdagradOptions>> groups) : Optimizer("Adagrad", {"sum"}) {
  for (auto& group : groups) add_group(std::move(group));
  require_parameters();
}

void Adagrad::add_group(ParameterGroup<AdagradOptions> group) {
  const AdagradOptions& o = group.options;
  append(std::move(group.parameters), {{"lr", o.lr, at_least_0},
                                       {"lr_decay", o.lr_decay, at_least_0},
                                       {"weight_decay", o.weight_decay, at_least_0},
                                       {"initial_accumulator_value", o.initial_accumulator_value, at_least_0},
                                       {"eps", o.eps, at_least_0},
                                       {"maximize", double(o.maximize), flag}});
}

void Adagrad::update(const Tensor& parameter, const Tensor& gradient, State& state) {
  const auto [lr, lr_decay, weight_decay, initial, eps, maximize] = options<6>();
  const kernels::AdagradUpdate step{lr, lr_decay, weight_decay, eps, maximize != 0, state.step};
  compute_into(
      parameter.dtype(),
      [&](auto* p, const auto* g, auto* sum) { kernels::adagrad(p, g, sum, parameter.size(), step); },
      writable(parameter), gradient, writable(buffer(state.tensors[0], parameter, initial)));
}

}  // namespace retort
