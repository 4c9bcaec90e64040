// A user's program that takes a tensor to xtensor and back.
#include <iostream>
#include <retort/framework/xtensor.hpp>
#include <retort/retort.hpp>
#include <xtensor/xmath.hpp>

namespace rt = retort;

int main() {
  const rt::Tensor x = rt::tensor({3.0, 4.0});
  const auto in = x.view<double>();
  const rt::Tensor length = rt::from_xtensor(xt::sqrt(xt::sum(in * in)));
  std::cout << "length " << length.item<double>() << '\n';
  return length.item<double>() == 5 ? 0 : 1;
}
