// A new operation whose value is one xtensor expression. Composed of operations, Charbonnier's loss
// sqrt((x - y)² + ε²) - ε writes five arrays. As an expression it reads both inputs once and writes one.
// (Charbonnier, Blanc-Féraud, Aubert and Barlaud, "Two deterministic half-quadratic regularization algorithms
// for computed imaging", 1994.)
#include <iostream>
#include <retort/framework/xtensor.hpp>
#include <retort/retort.hpp>
#include <xtensor/xmath.hpp>

namespace rt = retort;

// x, y and the result have the same shape.
// Throws: TypeError unless both inputs have the same floating-point type.
rt::Tensor charbonnier(const rt::Tensor& x, const rt::Tensor& y, double epsilon) {
  // The value has no history, as record() requires. Views make no copies, so only the result is written.
  const rt::Tensor value = rt::visit_floating(x.dtype(), [&]<class T>(T) {
    const T e = static_cast<T>(epsilon);
    return rt::from_xtensor(xt::sqrt(xt::square(x.view<T>() - y.view<T>()) + e * e) - e);
  });
  // The rule is composed of operations, so derivatives of all orders are available.
  return rt::record({.name = "charbonnier",
                     .inputs = {x, y},
                     .value = value,
                     .vjp = [x, y, epsilon](const rt::Tensor& g, rt::Needs needs) {
                       const rt::Tensor error = x - y;
                       const rt::Tensor dx = g * error / rt::sqrt(error * error + epsilon * epsilon);
                       return rt::Tensors{dx, needs[1] ? -dx : rt::Tensor()};
                     }});
}

int main() {
  rt::manual_seed(0);
  const auto f = [](const rt::Tensors& in) { return charbonnier(in[0], in[1], 0.1); };
  const rt::Tensors inputs = {rt::randn({4, 5}, rt::DType::float64), rt::randn({4, 5}, rt::DType::float64)};
  const rt::GradcheckReport first = rt::gradcheck(f, inputs), second = rt::gradgradcheck(f, inputs);
  std::cout << "first derivatives:  " << first << "\nsecond derivatives: " << second << '\n';

  // Minimising the loss moves x towards y in spite of the outlier in y.
  const rt::Tensor y = rt::tensor({1.0f, 2.0f, 3.0f, 1000.0f});
  const rt::Tensor x = rt::zeros({4}).set_requires_grad();
  rt::SGD optimizer({x}, {.lr = 0.05});
  for (int step = 0; step < 200; ++step) {
    optimizer.zero_grad();
    rt::sum(charbonnier(x, y, 0.1)).backward();
    optimizer.step();
  }
  std::cout << "x after 200 steps: " << x << '\n';
  return first && second ? 0 : 1;
}
