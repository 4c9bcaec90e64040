// Linear regression: recovers the line y = 3x - 1 from a hundred noisy points.
#include <iostream>
#include <retort/retort.hpp>

namespace rt = retort;

int main() {
  rt::manual_seed(0);

  // The data: x [100, 1] and y [100, 1], with a little noise.
  const rt::Tensor x = rt::randn({100, 1});
  const rt::Tensor y = 3.0 * x - 1.0 + 0.1 * rt::randn({100, 1});

  // The model y = weight·x + bias, and the optimiser of its two parameters.
  rt::Linear line(1, 1);
  rt::SGD optimizer(line.parameters(), {.lr = 0.1});

  for (int step = 0; step <= 50; ++step) {
    const rt::Tensor loss = rt::mse_loss(line(x), y);  // forward: every operation is recorded
    optimizer.zero_grad();                             // clear the gradients of the previous step
    loss.backward();                                   // d(loss)/d(weight) and d(loss)/d(bias)
    optimizer.step();                                  // update weight and bias
    if (step % 10 == 0) std::cout << "step " << step << "  loss " << loss.item<float>() << '\n';
  }
  std::cout << "y = " << line.weight.item<float>() << " x + " << line.bias.item<float>() << '\n';
}
