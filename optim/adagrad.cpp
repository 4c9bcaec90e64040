#include "retort/optim/adagrad.hpp"

#include <utility>

#include "retort/framework/kernels/optimizer_updates.hpp"

namespace retort {

Adagrad::Adagrad(Tensors parameters, AdagradOptions options)
    : Optimizer("Adagrad", std::move(parameters), {"sum"}), options_(options) {
  use({{"lr", options_.lr},
       {"lr_decay", options_.lr_decay},
       {"weight_decay", options_.weight_decay},
       {"initial_accumulator_value", options_.initial_accumulator_value},
       {"eps", options_.eps},
       {"maximize", options_.maximize}});
}

void Adagrad::check_settings() const {
  require(options_.lr >= 0, "lr", options_.lr, "at least 0");
  require(options_.lr_decay >= 0, "lr_decay", options_.lr_decay, "at least 0");
  require(options_.weight_decay >= 0, "weight_decay", options_.weight_decay, "at least 0");
  require(options_.initial_accumulator_value >= 0, "initial_accumulator_value",
          options_.initial_accumulator_value, "at least 0");
  require(options_.eps >= 0, "eps", options_.eps, "at least 0");
}

void Adagrad::update(const Tensor& parameter, const Tensor& gradient, State& state) {
  const AdagradOptions& o = options_;
  Tensor& sum = state.tensors[0];
  visit_floating(parameter.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::adagrad<T>(parameter.mutable_data<T>().data(), gradient.data<T>().data(),
                        values<T>(sum, parameter, o.initial_accumulator_value), parameter.size(),
                        {o.lr, o.lr_decay, o.weight_decay, o.eps, o.maximize, state.step});
  });
}

}  // namespace retort
