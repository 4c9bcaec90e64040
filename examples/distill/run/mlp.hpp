// The network of teacher and students: linear layers with ReLU and dropout between them.
#pragma once

#include <cstdint>
#include <retort/framework/nn/dropout.hpp>
#include <retort/framework/nn/linear.hpp>
#include <retort/framework/nn/module.hpp>
#include <retort/framework/ops/elementwise.hpp>
#include <vector>

namespace distill {

/// Maps images [N, sizes.front()] to logits [N, sizes.back()].
class Mlp : public retort::Module {
 public:
  Mlp(const std::vector<std::int64_t>& sizes, double drop) : dropout(drop) {
    for (std::size_t i = 1; i < sizes.size(); ++i) layers.emplace_back(sizes[i - 1], sizes[i]);
  }

  retort::Tensor operator()(const retort::Tensor& images) const {
    retort::Tensor x = layers.front()(images);
    for (std::size_t i = 1; i < layers.size(); ++i) x = layers[i](dropout(retort::relu(x)));
    return x;
  }

  std::vector<retort::Linear> layers;
  retort::Dropout dropout;
  RETORT_MEMBERS(layers, dropout)
};

}  // namespace distill
