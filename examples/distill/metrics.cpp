#include "metrics.hpp"

#include <algorithm>
#include <cmath>
#include <retort/framework/core/engine.hpp>
#include <retort/framework/ops/softmax.hpp>

namespace distill {
namespace {

retort::Tensor log_probabilities_of(const retort::Tensor& logits) {
  return retort::no_grad([&] { return retort::log_softmax(logits, 1, retort::DType::float64); });
}

/// The row of each prediction beside its label.
template <class Visit>
void visit_rows(const retort::Tensor& log_probabilities, const retort::Tensor& labels, Visit visit) {
  const auto values = log_probabilities.data<double>();
  const auto targets = labels.data<std::int64_t>();
  const auto classes = static_cast<std::size_t>(log_probabilities.size(1));
  for (std::size_t i = 0; i < targets.size(); ++i) visit(values.subspan(i * classes, classes), targets[i]);
}

std::vector<ReliabilityBin> bins_of(const retort::Tensor& log_probabilities, const retort::Tensor& labels,
                                    std::int64_t bins) {
  std::vector<ReliabilityBin> filled(static_cast<std::size_t>(bins));
  visit_rows(log_probabilities, labels, [&](std::span<const double> row, std::int64_t label) {
    const auto most = std::max_element(row.begin(), row.end());
    const double confidence = std::exp(*most);
    const auto position = std::clamp<std::int64_t>(
        std::llround(std::ceil(confidence * static_cast<double>(bins))) - 1, 0, bins - 1);
    ReliabilityBin& bin = filled[static_cast<std::size_t>(position)];
    ++bin.count;
    bin.right += most - row.begin() == label;
    bin.confidence += confidence;
  });
  return filled;
}

}  // namespace

std::vector<ReliabilityBin> reliability(const retort::Tensor& logits, const retort::Tensor& labels,
                                        std::int64_t bins) {
  return bins_of(log_probabilities_of(logits), labels, bins);
}

Metrics measure(const retort::Tensor& logits, const retort::Tensor& labels, std::int64_t bins) {
  const retort::Tensor log_probabilities = log_probabilities_of(logits);
  const auto rows = static_cast<double>(labels.size());
  Metrics metrics;
  visit_rows(log_probabilities, labels, [&](std::span<const double> row, std::int64_t label) {
    metrics.nll -= row[static_cast<std::size_t>(label)] / rows;
  });
  double right = 0;
  for (const ReliabilityBin& bin : bins_of(log_probabilities, labels, bins)) {
    right += bin.right;
    metrics.ece += std::abs(bin.right - bin.confidence) / rows;
  }
  metrics.accuracy = right / rows;
  return metrics;
}

}  // namespace distill
