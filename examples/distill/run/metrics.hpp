// The three metrics in the results.
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <retort/framework/train/metrics.hpp>

namespace distill {

struct Metrics {
  double accuracy = 0;
  double nll = 0;
  double ece = 0;
};

/// The metrics of a network whose answers are not known.
constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
constexpr Metrics unknown_metrics = {unknown, unknown, unknown};

inline Metrics measure(const retort::Tensor& logits, const retort::Tensor& labels) {
  return {retort::metrics::accuracy(logits, labels), retort::metrics::nll(logits, labels),
          retort::metrics::ece(logits, labels)};
}

/// The number at a key of an object. NaN if it is absent or null: JSON stores NaN and infinity as null.
template <class Json>
double number_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? unknown : found->template get<double>();
}

template <class Json>
void from_json(const Json& json, Metrics& metrics) {
  metrics = {number_in(json, "accuracy"), number_in(json, "nll"), number_in(json, "ece")};
}
template <class Json>
void to_json(Json& json, const Metrics& metrics) {
  json = {{"accuracy", metrics.accuracy}, {"nll", metrics.nll}, {"ece", metrics.ece}};
}

}  // namespace distill
