// The cross-entropy loss, from logits.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/tensor.hpp"
#include "retort/losses/reduction.hpp"

namespace retort {

struct CrossEntropyLossOptions {
  Tensor weight = {};                               ///< of each class [C]; undefined for 1
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::int64_t ignore_index = -100;                 ///< class targets of this value count for nothing
  std::optional<bool> reduce = std::nullopt;        ///< deprecated
  Reduction reduction = Reduction::mean;
  double label_smoothing = 0;  ///< the share of a target that is spread evenly over all classes, in [0, 1]
};

/// -Σ_c w[c]·p[c]·log_softmax(x)[c] for logits x [N, C, d…] or [C]. The target is int64 classes [N, d…] or a scalar
/// (p is one-hot), or probabilities of x's shape and a float type. mean divides the sum by the sum of the weights of
/// the classes that count, with probabilities by the number of targets N·d…; of none it is NaN.
/// ShapeError for shapes that do not fit, IndexError for a class out of range, ValueError for batchmean, a
/// label_smoothing outside [0, 1], or an ignore_index given beside probabilities.
/// Follows torch.nn.functional.cross_entropy.
Tensor cross_entropy(const Tensor& input, const Tensor& target, CrossEntropyLossOptions options = {});

/// cross_entropy with its options fixed.
class CrossEntropyLoss {
 public:
  explicit CrossEntropyLoss(CrossEntropyLossOptions options = {}) : options_(std::move(options)) {}
  explicit CrossEntropyLoss(detail::Defaults) : CrossEntropyLoss() {}
  Tensor operator()(const Tensor& input, const Tensor& target) const {
    return cross_entropy(input, target, options_);
  }

 private:
  CrossEntropyLossOptions options_;
};

}  // namespace retort
