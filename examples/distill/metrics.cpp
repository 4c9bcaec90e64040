#include "metrics.hpp"

#include <algorithm>
#include <cmath>
#include <retort/framework/core/engine.hpp>
#include <retort/framework/ops/softmax.hpp>
#include <vector>

namespace distill {

Metrics measure(const retort::Tensor& logits, const retort::Tensor& labels, std::int64_t bins) {
  const retort::Tensor log_probabilities =
      retort::no_grad([&] { return retort::log_softmax(logits, 1, retort::DType::float64); });
  const auto values = log_probabilities.data<double>();
  const auto targets = labels.data<std::int64_t>();
  const auto classes = static_cast<std::size_t>(logits.size(1));
  const auto rows = static_cast<double>(targets.size());

  struct Bin {
    double right = 0;
    double confidence = 0;
  };
  std::vector<Bin> filled(static_cast<std::size_t>(bins));
  Metrics metrics;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const auto row = values.subspan(i * classes, classes);
    const auto most = std::max_element(row.begin(), row.end());
    const double confidence = std::exp(*most);
    const bool right = most - row.begin() == targets[i];
    const auto bin = std::clamp<std::int64_t>(
        std::llround(std::ceil(confidence * static_cast<double>(bins))) - 1, 0, bins - 1);
    filled[static_cast<std::size_t>(bin)].right += right;
    filled[static_cast<std::size_t>(bin)].confidence += confidence;
    metrics.accuracy += right / rows;
    metrics.nll -= row[static_cast<std::size_t>(targets[i])] / rows;
  }
  for (const Bin& bin : filled) metrics.ece += std::abs(bin.right - bin.confidence) / rows;
  return metrics;
}

}  // namespace distill
