#include "retort/optim/adam.hpp"

#include <utility>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/kernels/optimizer_updates.hpp"

namespace retort {

Adam::Adam(Tensors parameters, AdamOptions options) : Adam("Adam", std::move(parameters), options, false) {}

Adam::Adam(const char* name, Tensors parameters, AdamOptions options, bool decoupled)
    : Optimizer(name, std::move(parameters), {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
                {{"lr", options.lr, at_least_0},
                 {"betas.0", options.betas.first, from_0_below_1},
                 {"betas.1", options.betas.second, from_0_below_1},
                 {"eps", options.eps, at_least_0},
                 {"weight_decay", options.weight_decay, at_least_0},
                 {"amsgrad", double(options.amsgrad), flag},
                 {"maximize", double(options.maximize), flag}}),
      decoupled_(decoupled) {}

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

AdamW::AdamW(Tensors parameters, AdamWOptions options)
    : Adam("AdamW", std::move(parameters),
           {options.lr, options.betas, options.eps, options.weight_decay, options.amsgrad, options.maximize},
           true) {}

}  // namespace retort
