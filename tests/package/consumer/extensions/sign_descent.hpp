// An optimiser of a user: each step moves by lr against the signs of the gradient.
#pragma once

#include <retort/retort.hpp>
#include <utility>

namespace rt = retort;

class SignDescent : public rt::Optimizer {
 public:
  explicit SignDescent(rt::Tensors parameters, double lr)
      : Optimizer("SignDescent", std::move(parameters), {}, {{"lr", lr, at_least_0}}) {}

 protected:
  void update(const rt::Tensor& parameter, const rt::Tensor& gradient, State&) override {
    const auto step = [n = parameter.size(), lr = lr()]<class T>(T* p, const T* g) {
      for (std::int64_t i = 0; i < n; ++i) p[i] -= static_cast<T>(lr * ((g[i] > 0) - (g[i] < 0)));
    };
    rt::compute_into(parameter.dtype(), step, rt::writable(parameter), gradient);
  }
};
