#include "retort/framework/train/metrics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/require.hpp"
#include "retort/framework/ops/softmax.hpp"
#include "retort/framework/train/report_impl.hpp"

namespace retort::metrics {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// The rows of log-probabilities with their labels, after all checks.
class Rows {
 public:
  Rows(const char* metric, const Tensor& logits, const Tensor& labels) {
    detail::require_defined(metric, "the logits", logits);
    detail::require_defined(metric, "the labels", labels);
    if (!is_floating_point(logits.dtype()))
      throw TypeError(message("{}: the logits are {}; expected float32 or float64", metric, logits.dtype()));
    if (labels.dtype() != DType::int64)
      throw TypeError(message("{}: the labels are {}; expected int64", metric, labels.dtype()));
    if (logits.dim() != 2 || labels.dim() != 1 || logits.size(0) != labels.size(0))
      throw ShapeError(message("{}: logits have shape {} and labels {}; expected [N, C] and [N]", metric,
                               logits.shape(), labels.shape()));
    classes = logits.size(1);
    const auto numbers = labels.data<std::int64_t>();
    for (std::size_t i = 0; i < numbers.size(); ++i)
      if (numbers[i] < 0 || numbers[i] >= classes)
        throw IndexError(
            message("{}: label {} at position {} is out of range [0, {})", metric, numbers[i], i, classes));
    log_probabilities_ = no_grad([&] { return log_softmax(logits, 1, DType::float64); });
    labels_ = labels;
  }

  std::size_t size() const { return static_cast<std::size_t>(labels_.size()); }
  std::span<const double> row(std::size_t i) const {
    const auto width = static_cast<std::size_t>(classes);
    return log_probabilities_.data<double>().subspan(i * width, width);
  }
  std::int64_t label(std::size_t i) const { return labels_.data<std::int64_t>()[i]; }
  /// Empty for a row that contains a NaN, since log_softmax propagates it to the whole row.
  std::optional<std::int64_t> predicted(std::size_t i) const {
    const auto values = row(i);
    if (std::isnan(values.front())) return std::nullopt;
    return std::ranges::max_element(values) - values.begin();
  }

  std::int64_t classes = 0;

 private:
  Tensor log_probabilities_;
  Tensor labels_;
};

std::vector<ReliabilityBin> reliability_of(const char* metric, const Rows& rows, std::int64_t bins) {
  if (bins < 1) throw ValueError(message("{}: bins is {}; expected at least 1", metric, bins));
  std::vector<ReliabilityBin> filled(static_cast<std::size_t>(bins));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto predicted = rows.predicted(i);
    if (!predicted) continue;
    const double confidence = std::exp(rows.row(i)[static_cast<std::size_t>(*predicted)]);
    const auto position = std::llround(std::ceil(confidence * static_cast<double>(bins))) - 1;
    ReliabilityBin& bin = filled[static_cast<std::size_t>(std::clamp<std::int64_t>(position, 0, bins - 1))];
    ++bin.count;
    bin.right += *predicted == rows.label(i);
    bin.confidence += confidence;
  }
  return filled;
}

/// Number of rows of each class: with that label, with that prediction, and with both.
struct Counts {
  Counts(const char* metric, const Tensor& logits, const Tensor& labels) {
    const Rows rows(metric, logits, labels);
    const auto classes = static_cast<std::size_t>(rows.classes);
    labelled.resize(classes);
    predicted.resize(classes);
    right.resize(classes);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto label = static_cast<std::size_t>(rows.label(i));
      ++labelled[label];
      if (const auto guess = rows.predicted(i)) {
        ++predicted[static_cast<std::size_t>(*guess)];
        right[label] += *guess == rows.label(i);
      }
    }
  }

  std::vector<double> labelled = {}, predicted = {}, right = {};
};

/// The mean of numerator / denominator over the classes whose denominator is not 0.
double mean_of_ratios(const std::vector<double>& numerators, const std::vector<double>& denominators) {
  double sum = 0, count = 0;
  for (std::size_t c = 0; c < numerators.size(); ++c) {
    if (denominators[c] == 0) continue;
    sum += numerators[c] / denominators[c];
    ++count;
  }
  return sum / count;
}

}  // namespace

double balanced_accuracy(const Tensor& logits, const Tensor& labels) {
  const Counts counts("balanced_accuracy", logits, labels);
  return mean_of_ratios(counts.right, counts.labelled);
}

double macro_f1(const Tensor& logits, const Tensor& labels) {
  Counts counts("macro_f1", logits, labels);
  for (std::size_t c = 0; c < counts.right.size(); ++c) {
    counts.right[c] *= 2;
    counts.labelled[c] += counts.predicted[c];  // 2·TP + FP + FN
  }
  return mean_of_ratios(counts.right, counts.labelled);
}

double accuracy(const Tensor& logits, const Tensor& labels) {
  const Rows rows("accuracy", logits, labels);
  double right = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) right += rows.predicted(i) == rows.label(i);
  return right / static_cast<double>(rows.size());
}

double top_k_accuracy(const Tensor& logits, const Tensor& labels, std::int64_t k) {
  const Rows rows("top_k_accuracy", logits, labels);
  if (k < 1 || k > rows.classes)
    throw ValueError(
        message("top_k_accuracy: k is {}; expected 1 to {}, the number of classes", k, rows.classes));
  double right = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto values = rows.row(i);
    const auto label = static_cast<std::size_t>(rows.label(i));
    if (std::isnan(values[label])) continue;
    std::int64_t before = 0;  // classes that are more probable, or equally probable and lower
    for (std::size_t c = 0; c < values.size(); ++c)
      before += values[c] > values[label] || (values[c] == values[label] && c < label);
    right += before < k;
  }
  return right / static_cast<double>(rows.size());
}

double nll(const Tensor& logits, const Tensor& labels) {
  const Rows rows("nll", logits, labels);
  const auto count = static_cast<double>(rows.size());
  double mean = rows.size() == 0 ? nan : 0;
  for (std::size_t i = 0; i < rows.size(); ++i)
    mean -= rows.row(i)[static_cast<std::size_t>(rows.label(i))] / count;
  return mean;
}

std::vector<ReliabilityBin> reliability(const Tensor& logits, const Tensor& labels, std::int64_t bins) {
  return reliability_of("reliability", Rows("reliability", logits, labels), bins);
}

double ece(const Tensor& logits, const Tensor& labels, std::int64_t bins) {
  return detail::calibration_of("ece", logits, labels, bins).error;
}

Tensor confusion_matrix(const Tensor& logits, const Tensor& labels) {
  const Rows rows("confusion_matrix", logits, labels);
  const Tensor counts = zeros({rows.classes, rows.classes}, DType::int64);
  const auto values = counts.mutable_data<std::int64_t>();
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (const auto predicted = rows.predicted(i))
      ++values[static_cast<std::size_t>(rows.label(i) * rows.classes + *predicted)];
  return counts;
}

}  // namespace retort::metrics

retort::detail::Calibration retort::detail::calibration_of(const char* operation, const Tensor& logits,
                                                           const Tensor& labels, std::int64_t bins) {
  const metrics::Rows rows(operation, logits, labels);
  const auto count = static_cast<double>(rows.size());
  Calibration result{metrics::reliability_of(operation, rows, bins), rows.size() == 0 ? metrics::nan : 0};
  std::int64_t counted = 0;
  for (const metrics::ReliabilityBin& bin : result.bins) {
    result.error += std::abs(bin.right - bin.confidence) / count;
    counted += bin.count;
  }
  if (counted < labels.size()) result.error = metrics::nan;
  return result;
}
