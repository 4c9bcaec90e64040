// Which test images a report shows, and the networks' soft answers to them.
#pragma once

#include <cstdint>
#include <retort/framework/core/tensor.hpp>
#include <string>
#include <vector>

#include "distill/report/run_record.hpp"

namespace distill {

/// softmax(logits / temperature) of each row, float64 [N, C].
retort::Tensor softened(const retort::Tensor& logits, double temperature);

/// The most probable class of each row of [N, C].
std::vector<std::int64_t> predicted(const retort::Tensor& logits);

/// For each class the test image that the teacher gets right, the student alone does not, and whose class the
/// student alone thinks the least probable; at most `count`, those with the least probability. In the order
/// of the classes.
std::vector<std::int64_t> telling_rows(const RunRecord& run, const retort::Tensor& labels, std::size_t count);

/// For each of the confidences the test image that the teacher gets right with a probability nearest to it,
/// among those not taken yet. Fewer when the teacher gets fewer right.
std::vector<std::int64_t> rows_by_confidence(const RunRecord& run, const retort::Tensor& labels,
                                             const std::vector<double>& confidences);

/// The classes that bars are drawn for, in their order: all when they are no more than `count`, else those
/// that one of these distributions thinks the most probable.
std::vector<std::size_t> shown_classes(const std::vector<std::vector<double>>& distributions,
                                       std::size_t count);

}  // namespace distill
