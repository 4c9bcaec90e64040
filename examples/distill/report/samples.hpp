// The test images in a report, and the networks' soft answers to them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "distill/report/run_record.hpp"

namespace distill {

/// softmax(logits / temperature) of each row, float64 [N, C].
retort::Tensor softened(const retort::Tensor& logits, double temperature);

/// Test images that the teacher classifies correctly and the student alone does not. Returns, for each
/// class, the image to whose class the student alone assigns the lowest probability. Of these, returns at
/// most `count`, with the lowest probabilities, in the order of the classes.
std::vector<std::int64_t> telling_rows(const RunRecord& run, const retort::Tensor& labels, std::size_t count);

/// For each confidence, the test image that the teacher classifies correctly with the nearest probability,
/// without repetitions. Returns fewer images if the teacher classifies fewer correctly.
std::vector<std::int64_t> rows_by_confidence(const RunRecord& run, const retort::Tensor& labels,
                                             const std::vector<double>& confidences);

}  // namespace distill
