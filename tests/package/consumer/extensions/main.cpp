// A user's own operations, module, loss, optimiser and schedule: each door for extensions is open in an
// installed library, a shared one too.
#include <cmath>
#include <iostream>
#include <retort/framework/fused.hpp>
#include <retort/retort.hpp>

#include "sign_descent.hpp"

namespace rt = retort;

// An operation from others, with its rule.
rt::Tensor cube(const rt::Tensor& x) {
  const rt::Tensor v = x.detach();
  return rt::record(
      {.name = "cube", .inputs = {x}, .value = v * v * v, .vjp = [x](const rt::Tensor& g, rt::Needs) {
         return g * 3.0 * x * x;
       }});
}

// An operation with a kernel, defined by a reference.
rt::Tensor softsign(const rt::Tensor& x) {
  const auto kernel = [n = x.size()](auto* y, const auto* v) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = v[i] / (1 + std::abs(v[i]));
  };
  const auto reference = [](const rt::Tensors& in) { return in[0] / (rt::abs(in[0]) + 1); };
  return rt::record({.name = "softsign",
                     .inputs = {x},
                     .value = rt::compute(x.shape(), x.dtype(), kernel, x),
                     .vjp = rt::vjp_by_reference(reference, {x})});
}

// An operation with several results.
rt::Tensors sum_and_difference(const rt::Tensor& a, const rt::Tensor& b) {
  const rt::Tensor x = a.detach(), y = b.detach();
  return rt::record_many({.name = "sum_and_difference",
                          .inputs = {a, b},
                          .values = {x + y, x - y},
                          .vjp = [](const rt::Tensors& gs, rt::Needs) {
                            const rt::Tensor sum = gs[0].defined() ? gs[0] : rt::zeros_like(gs[1]);
                            const rt::Tensor difference = gs[1].defined() ? gs[1] : rt::zeros_like(gs[0]);
                            return rt::Tensors{sum + difference, sum - difference};
                          }});
}

rt::Tensor gated(const rt::Tensor& x, const rt::Tensor& y) {
  return rt::fused(
      "gated", [](const auto& a, const auto& b) { return a * sigmoid(b) + tanh(a); }, x, y);
}

struct PowerOptions {
  double exponent = 4;
};
rt::Tensor power_loss(const rt::Tensor& input, const rt::Tensor& target, PowerOptions options) {
  return rt::mean(rt::pow(input - target, options.exponent));
}
using PowerLoss = rt::LossOf<power_loss, PowerOptions, rt::Tensor, rt::Tensor>;

class Net : public rt::Module {
 public:
  rt::Tensor operator()(const rt::Tensor& x) { return out(gated(hidden(x), softsign(hidden(x)))); }

  rt::Linear hidden{3, 8}, out{8, 1};
  RETORT_MEMBERS(hidden, out)
};

class Halving : public rt::LRScheduler {
 public:
  explicit Halving(rt::Optimizer& optimizer)
      : LRScheduler(optimizer, [](const Moment& at) {
          return at.base_lr * std::exp2(-static_cast<double>(at.step) / 50);
        }) {}
};

int main() try {
  rt::manual_seed(0);
  const auto all = [](const rt::Tensors& in) {
    const rt::Tensors parts = sum_and_difference(in[0], in[1]);
    return gated(cube(parts[0]), softsign(parts[1]));
  };
  rt::Tensors inputs{rt::randn({4}, rt::DType::float64), rt::randn({4}, rt::DType::float64)};
  for (rt::Tensor& input : inputs) input.set_requires_grad();
  const rt::GradcheckReport first = rt::gradcheck(all, inputs), second = rt::gradgradcheck(all, inputs);
  if (!first || !second) {
    std::cerr << first << '\n' << second << '\n';
    return 1;
  }

  Net net;
  const PowerLoss loss_of({.exponent = 2});
  SignDescent optimizer(net.parameters(), 0.01);
  Halving schedule(optimizer);
  const rt::Tensor x = rt::randn({64, 3}), target = rt::sum(x, 1, true);
  double before = 0, after = 0;
  for (int step = 0; step < 150; ++step) {
    const rt::Tensor loss = loss_of(net(x), target);
    after = loss.item<double>();
    if (step == 0) before = after;
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    schedule.step();
  }
  std::cout << "loss " << before << " -> " << after << '\n';
  return after < before / 4 ? 0 : 1;
} catch (const rt::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
