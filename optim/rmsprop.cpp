#include "retort/optim/rmsprop.hpp"

#include <utility>

#include "retort/framework/kernels/optimizer_updates.hpp"

namespace retort {

RMSprop::RMSprop(Tensors parameters, RMSpropOptions options)
    : Optimizer("RMSprop", std::move(parameters), {"square_avg", "grad_avg", "momentum_buffer"}),
      options_(options) {
  use({{"lr", options_.lr},
       {"alpha", options_.alpha},
       {"eps", options_.eps},
       {"weight_decay", options_.weight_decay},
       {"momentum", options_.momentum},
       {"centered", options_.centered},
       {"maximize", options_.maximize}},
      &options_.momentum);
}

void RMSprop::check_settings() const {
  require(options_.lr >= 0, "lr", options_.lr, "at least 0");
  require(options_.alpha >= 0 && options_.alpha <= 1, "alpha", options_.alpha, "in [0, 1]");
  require(options_.eps >= 0, "eps", options_.eps, "at least 0");
  require(options_.weight_decay >= 0, "weight_decay", options_.weight_decay, "at least 0");
  require(options_.momentum >= 0, "momentum", options_.momentum, "at least 0");
}

void RMSprop::update(const Tensor& parameter, const Tensor& gradient, State& state) {
  const RMSpropOptions& o = options_;
  auto& [square_average, average, buffer] = state.tensors;
  visit_floating(parameter.dtype(), [&, &s = square_average, &a = average, &b = buffer](auto zero) {
    using T = decltype(zero);
    kernels::rmsprop<T>(parameter.mutable_data<T>().data(), gradient.data<T>().data(),
                        values<T>(s, parameter), o.centered ? values<T>(a, parameter) : nullptr,
                        o.momentum > 0 ? values<T>(b, parameter) : nullptr, parameter.size(),
                        {o.lr, o.alpha, o.eps, o.weight_decay, o.momentum, o.centered, o.maximize});
  });
}

}  // namespace retort
