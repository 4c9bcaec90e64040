#include "retort/optim/sgd.hpp"

#include <utility>

#include "retort/framework/kernels/optimizer_updates.hpp"

namespace retort {

SGD::SGD(Tensors parameters, SGDOptions options)
    : Optimizer("SGD", std::move(parameters), {"momentum_buffer"}), options_(options) {
  use({{"lr", options_.lr},
       {"momentum", options_.momentum},
       {"dampening", options_.dampening},
       {"weight_decay", options_.weight_decay},
       {"nesterov", options_.nesterov},
       {"maximize", options_.maximize}},
      &options_.momentum);
}

void SGD::check_settings() const {
  require(options_.lr >= 0, "lr", options_.lr, "at least 0");
  require(options_.momentum >= 0, "momentum", options_.momentum, "at least 0");
  require(options_.weight_decay >= 0, "weight_decay", options_.weight_decay, "at least 0");
  if (options_.nesterov) {
    require(options_.momentum > 0, "momentum", options_.momentum, "greater than 0 with nesterov");
    require(options_.dampening == 0, "dampening", options_.dampening, "0 with nesterov");
  }
}

void SGD::update(const Tensor& parameter, const Tensor& gradient, State& state) {
  const SGDOptions& o = options_;
  Tensor& buffer = state.tensors[0];
  const bool first = !buffer.defined();
  visit_floating(parameter.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::sgd<T>(parameter.mutable_data<T>().data(), gradient.data<T>().data(),
                    o.momentum != 0 ? values<T>(buffer, parameter) : nullptr, parameter.size(),
                    {o.lr, o.momentum, o.dampening, o.weight_decay, o.nesterov, o.maximize, first});
  });
}

}  // namespace retort
