#include "retort/framework/nn/sequential.hpp"

namespace retort {

Module& Sequential::operator[](std::size_t i) const {
  if (i >= layers_.size())
    throw IndexError(message("Sequential: module {} is out of range [0, {})", i, layers_.size()));
  return layers_[i].module();
}

Tensor Sequential::operator()(const Tensor& x) const {
  Tensor y = x;
  for (const detail::AnyLayer& layer : layers_) y = layer(y);
  return output(y);
}

void Sequential::retort_members(std::vector<detail::Member>& found) const {
  for (std::size_t i = 0; i < layers_.size(); ++i)
    detail::append_member(found, std::to_string(i), layers_[i].module());
}

}  // namespace retort
