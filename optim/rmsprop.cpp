#include "retort/optim/rmsprop.hpp"

#include <utility>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/kernels/optimizer_updates.hpp"

namespace retort {

RMSprop::RMSprop(Tensors parameters, RMSpropOptions options)
    : Optimizer("RMSprop", std::move(parameters), {"square_avg", "grad_avg", "momentum_buffer"},
                {{"lr", options.lr, at_least_0},
                 {"alpha", options.alpha, from_0_to_1},
                 {"eps", options.eps, at_least_0},
                 {"weight_decay", options.weight_decay, at_least_0},
                 {"momentum", options.momentum, at_least_0},
                 {"centered", double(options.centered), flag},
                 {"maximize", double(options.maximize), flag}}) {}

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
