// Classification metrics.
#pragma once

#include <cstdint>
#include <vector>

#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Classification metrics. All take logits [N, C] (or log-probabilities) and int64 labels [N], record
/// nothing, compute in float64 and return a number. The mean over no rows is NaN. A row that contains a NaN
/// counts as a wrong prediction, and makes nll() and ece() NaN.
///
///     const double accuracy = rt::metrics::accuracy(rt::predict(model, test), test.targets());
///
/// Throws: ShapeError unless the shapes are [N, C] and [N]; TypeError unless logits are floating-point and
/// labels int64; IndexError if a label is outside [0, C).
namespace metrics {

/// Fraction of rows whose most probable class is the label, in [0, 1]. Ties go to the lower class, as in
/// argmax().
[[nodiscard]] double accuracy(const Tensor& logits, const Tensor& labels);

/// Fraction of rows whose label is among the k most probable classes. Ties go to the lower class.
/// Throws: ValueError unless 1 <= k <= C.
[[nodiscard]] double top_k_accuracy(const Tensor& logits, const Tensor& labels, std::int64_t k);

/// The mean of the classes' recalls (fraction of a class's rows predicted as that class), so that rare
/// classes count as much as frequent ones. Classes without rows are excluded.
[[nodiscard]] double balanced_accuracy(const Tensor& logits, const Tensor& labels);

/// The mean over the classes of F1 = 2·TP / (2·TP + FP + FN), the harmonic mean of precision and recall.
/// Classes that are neither labels nor predictions are excluded.
[[nodiscard]] double macro_f1(const Tensor& logits, const Tensor& labels);

/// Mean negative log-likelihood of the labels, -log softmax(logits)[label], in nats.
[[nodiscard]] double nll(const Tensor& logits, const Tensor& labels);

/// The predictions with confidence (probability of the predicted class) in one interval.
struct ReliabilityBin {
  std::int64_t count = 0;  ///< number of predictions
  double right = 0;        ///< number of correct predictions
  double confidence = 0;   ///< sum of the confidences
};

/// The predictions grouped by confidence: bin k of `bins` covers the interval (k / bins, (k + 1) / bins].
/// Rows with a NaN have no confidence and are excluded.
/// Throws: ValueError if bins < 1.
[[nodiscard]] std::vector<ReliabilityBin> reliability(const Tensor& logits, const Tensor& labels,
                                                      std::int64_t bins = 15);

/// Expected calibration error: the mean over the rows of |accuracy - mean confidence| of the row's bin.
/// Throws: ValueError if bins < 1.
/// Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks" (2017).
[[nodiscard]] double ece(const Tensor& logits, const Tensor& labels, std::int64_t bins = 15);

/// Counts int64 [C, C]: entry (i, j) is the number of rows with label i predicted as class j. Rows with a NaN
/// have no prediction and are excluded.
[[nodiscard]] Tensor confusion_matrix(const Tensor& logits, const Tensor& labels);

}  // namespace metrics
}  // namespace retort
