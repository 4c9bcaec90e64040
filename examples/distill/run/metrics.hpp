// The three metrics in the results.
#pragma once

#include <retort/framework/train/metrics.hpp>

namespace distill {

struct Metrics {
  double accuracy = 0;
  double nll = 0;
  double ece = 0;
};

inline Metrics measure(const retort::Tensor& logits, const retort::Tensor& labels) {
  return {retort::metrics::accuracy(logits, labels), retort::metrics::nll(logits, labels),
          retort::metrics::ece(logits, labels)};
}

}  // namespace distill
