// How good predictions are.
#pragma once

#include <cstdint>
#include <retort/framework/core/tensor.hpp>
#include <vector>

namespace distill {

struct Metrics {
  double accuracy = 0;  ///< share of images whose most probable class is the right one
  double nll = 0;       ///< mean of -log(probability of the right class)
  double ece = 0;       ///< expected calibration error
};

/// The predictions whose confidence, the probability of the class predicted, lies in one interval.
struct ReliabilityBin {
  std::int64_t count = 0;
  double right = 0;       ///< how many of them are right
  double confidence = 0;  ///< sum of their confidences
};
/// The predictions of logits [N, C] against labels int64 [N], by confidence: bin k of `bins` holds the interval
/// (k / bins, (k + 1) / bins].
std::vector<ReliabilityBin> reliability(const retort::Tensor& logits, const retort::Tensor& labels,
                                        std::int64_t bins = 15);

/// Measures logits [N, C] against labels int64 [N]. The calibration error is the sum over the bins of their
/// reliability of |accuracy - mean confidence|, weighted by their share of the predictions. Guo, Pleiss, Sun and
/// Weinberger, "On calibration of modern neural networks" (2017).
Metrics measure(const retort::Tensor& logits, const retort::Tensor& labels, std::int64_t bins = 15);

}  // namespace distill
