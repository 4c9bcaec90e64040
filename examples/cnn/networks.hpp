// The two convolutional networks.
#pragma once

#include <retort/retort.hpp>
#include <string>
#include <vector>

namespace cnn {

using retort::Tensor;

/// A convolution without bias, followed by batch norm.
class ConvNorm : public retort::Module {
 public:
  ConvNorm(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
           std::int64_t groups = 1)
      : conv(in, out, kernel, {.stride = stride, .padding = kernel / 2, .groups = groups, .bias = false}),
        norm(out) {}
  Tensor operator()(const Tensor& x) { return norm(conv(x)); }

  retort::Conv2d conv;
  retort::BatchNorm2d norm;
  RETORT_MEMBERS(conv, norm)
};

/// x + two convolutions of x; the shortcut is a 1×1 convolution if the shape changes (He et al. 2016).
class Residual : public retort::Module {
 public:
  Residual(std::int64_t in, std::int64_t out, std::int64_t stride)
      : first(in, out, 3, stride), second(out, out, 3, 1) {
    if (in != out || stride != 1) shortcut.emplace_back(in, out, 1, stride);
  }
  Tensor operator()(const Tensor& x) {
    const Tensor around = shortcut.empty() ? x : shortcut.front()(x);
    return this->output(retort::relu(second(retort::relu(first(x))) + around));
  }

  ConvNorm first, second;
  std::vector<ConvNorm> shortcut = {};
  RETORT_MEMBERS(first, second, shortcut)
};

/// A depthwise 3×3 convolution followed by a pointwise 1×1 one (Howard et al. 2017, MobileNets).
class Separable : public retort::Module {
 public:
  Separable(std::int64_t in, std::int64_t out, std::int64_t stride)
      : depthwise(in, in, 3, stride, in), pointwise(in, out, 1, 1) {}
  Tensor operator()(const Tensor& x) {
    return this->output(retort::relu(pointwise(retort::relu(depthwise(x)))));
  }

  ConvNorm depthwise, pointwise;
  RETORT_MEMBERS(depthwise, pointwise)
};

/// A stem, blocks, the mean over the image, and one linear layer. The last block's output is [N, C, 7, 7].
template <class Block>
class Network : public retort::Module {
 public:
  struct Stage {
    std::int64_t channels, stride;
  };
  Network(std::int64_t stem_channels, std::int64_t stem_stride, const std::vector<Stage>& stages,
          std::int64_t classes)
      : stem(1, stem_channels, 3, stem_stride), head(stages.back().channels, classes) {
    std::int64_t channels = stem_channels;
    for (const Stage& stage : stages) {
      blocks.emplace_back(channels, stage.channels, stage.stride);
      channels = stage.channels;
    }
  }
  Tensor operator()(const Tensor& x) {
    Tensor features = retort::relu(stem(x));
    for (Block& block : blocks) features = block(features);
    return head(retort::mean(features, {2, 3}));
  }
  /// The name of the last block, for a FeatureRecorder.
  std::string last_block() const { return "blocks." + std::to_string(blocks.size() - 1); }

  ConvNorm stem;
  std::vector<Block> blocks = {};
  retort::Linear head;
  RETORT_MEMBERS(stem, blocks, head)
};

using Teacher = Network<Residual>;
using Student = Network<Separable>;

}  // namespace cnn
