// How good predictions are.
#pragma once

#include <cstdint>
#include <retort/framework/core/tensor.hpp>

namespace distill {

struct Metrics {
  double accuracy = 0;  ///< share of images whose most probable class is the right one
  double nll = 0;       ///< mean of -log(probability of the right class)
  double ece = 0;       ///< expected calibration error
};

/// Measures logits [N, C] against labels int64 [N]. The calibration error puts each prediction into one of `bins`
/// intervals (low, high] by its confidence, the probability of the class predicted: the sum over the bins of
/// |accuracy - mean confidence|, weighted by their share of the predictions. Guo, Pleiss, Sun and Weinberger, "On
/// calibration of modern neural networks" (2017).
Metrics measure(const retort::Tensor& logits, const retort::Tensor& labels, std::int64_t bins = 15);

}  // namespace distill
