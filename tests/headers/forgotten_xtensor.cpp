// Must not compile: the bridge to xtensor is not included, and the error must name the missing header.
#include <retort/retort.hpp>

int main() {
  const retort::Tensor x = retort::zeros({2});
  return static_cast<int>(x.view<float>().size());
}
