#include "retort/optim/adagrad.hpp"

#include <utility>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/kernels/optimizer_updates.hpp"

namespace retort {

Adagrad::Adagrad(Tensors parameters, AdagradOptions options)
    : Optimizer("Adagrad", std::move(parameters), {"sum"},
                {{"lr", options.lr, at_least_0},
                 {"lr_decay", options.lr_decay, at_least_0},
                 {"weight_decay", options.weight_decay, at_least_0},
                 {"initial_accumulator_value", options.initial_accumulator_value, at_least_0},
                 {"eps", options.eps, at_least_0},
                 {"maximize", double(options.maximize), flag}}) {}

void Adagrad::update(const Tensor& parameter, const Tensor& gradient, State& state) {
  const auto [lr, lr_decay, weight_decay, initial, eps, maximize] = options<6>();
  const kernels::AdagradUpdate step{lr, lr_decay, weight_decay, eps, maximize != 0, state.step};
  compute_into(
      parameter.dtype(),
      [&](auto* p, const auto* g, auto* sum) { kernels::adagrad(p, g, sum, parameter.size(), step); },
      writable(parameter), gradient, writable(buffer(state.tensors[0], parameter, initial)));
}

}  // namespace retort
