#include "retort/optim/adam.hpp"

#include "retort/framework/kernels/optimizer_updates.hpp"

namespace retort {

Adam::Adam(Tensors parameters, AdamOptions options) : Adam("Adam", std::move(parameters), options, false) {}

Adam::Adam(const char* name, Tensors parameters, AdamOptions options, bool decoupled)
    : Optimizer(name, std::move(parameters), {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}),
      options_(options),
      decoupled_(decoupled) {
  use({{"lr", options_.lr},
       {"betas.0", options_.betas.first},
       {"betas.1", options_.betas.second},
       {"eps", options_.eps},
       {"weight_decay", options_.weight_decay},
       {"amsgrad", options_.amsgrad},
       {"maximize", options_.maximize}},
      &options_.betas.first);
}

void Adam::check_settings() const {
  const auto& [beta1, beta2] = options_.betas;
  require(options_.lr >= 0, "lr", options_.lr, "at least 0");
  require(beta1 >= 0 && beta1 < 1, "betas.first", beta1, "in [0, 1)");
  require(beta2 >= 0 && beta2 < 1, "betas.second", beta2, "in [0, 1)");
  require(options_.eps >= 0, "eps", options_.eps, "at least 0");
  require(options_.weight_decay >= 0, "weight_decay", options_.weight_decay, "at least 0");
}

void Adam::update(const Tensor& parameter, const Tensor& gradient, State& state) {
  const AdamOptions& o = options_;
  auto& [m, v, v_max] = state.tensors;
  visit_floating(parameter.dtype(), [&, &m = m, &v = v, &v_max = v_max](auto zero) {
    using T = decltype(zero);
    kernels::adam<T>(
        parameter.mutable_data<T>().data(), gradient.data<T>().data(), values<T>(m, parameter),
        values<T>(v, parameter), o.amsgrad ? values<T>(v_max, parameter) : nullptr, parameter.size(),
        {o.lr, o.betas.first, o.betas.second, o.eps, o.weight_decay, decoupled_, o.maximize, state.step});
  });
}

AdamW::AdamW(Tensors parameters, AdamWOptions options)
    : Adam("AdamW", std::move(parameters),
           {options.lr, options.betas, options.eps, options.weight_decay, options.amsgrad, options.maximize},
           true) {}

}  // namespace retort
