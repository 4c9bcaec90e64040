// An operation of one's own whose value is one xtensor expression. Composed of operations, Charbonnier's loss
// sqrt((x - y)² + ε²) - ε writes five arrays; as an expression it reads both inputs once and writes one.
// (Charbonnier, Blanc-Féraud, Aubert and Barlaud, "Two deterministic half-quadratic regularization algorithms
// for computed imaging", 1994.)
#include <iostream>
#include <retort/framework/xtensor.hpp>
#include <retort/retort.hpp>
#include <xtensor/xmath.hpp>

namespace rt = retort;

// For tensors x and y of one shape. The result has that shape, too. TypeError unless both are of one float
// type.
rt::Tensor charbonnier(const rt::Tensor& x, const rt::Tensor& y, double epsilon) {
  // The value has no history, which is what record() expects. A view makes no copy: nothing is written except
  // the result.
  const rt::Tensor value = rt::visit_floating(x.dtype(), [&]<class T>(T) {
    const T e = static_cast<T>(epsilon);
    return rt::from_xtensor(xt::sqrt(xt::square(x.view<T>() - y.view<T>()) + e * e) - e);
  });
  // The rule is written in operations, so derivatives of every order come for free.
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

  // It learns: x moves towards y in spite of the outlier in y.
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
