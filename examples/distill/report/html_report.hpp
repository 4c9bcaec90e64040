// The HTML report of a run, and how its charts and images are chosen.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "distill/report/run_record.hpp"

namespace distill {

/// Writes report.html from the files in a run's folder: one self-contained page for light and dark
/// backgrounds.
/// Throws: IoError naming the file if one is missing or broken, or if the page cannot be written.
void write_html_report(const std::string& run_folder, const Data& data);

/// One of the three networks in a report. Its colour is legible on light and dark backgrounds.
struct Network {
  const char* key;    ///< name in files
  const char* title;  ///< displayed name
  const char* color;
  retort::Tensor RunRecord::*logits;
};
inline constexpr std::array<Network, 3> networks = {
    Network{"teacher", "Teacher", "#7d8590", &RunRecord::teacher},
    Network{"alone", "Student alone", "#d0712c", &RunRecord::alone},
    Network{"distilled", "Student distilled", "#3a85c8", &RunRecord::distilled},
};

struct Chart {
  std::string title = {};
  retort::ReportAxes axes = {};
  std::vector<retort::ReportSeries> series = {};
};
/// Loss, accuracy and log-likelihood over the epochs: separate charts of the teacher and of the students. The
/// lines of the students are means over the seeds; the bands extend from minimum to maximum. Metrics that
/// the run did not measure are omitted.
std::vector<Chart> learning_charts(const RunRecord& run);

/// Test images that the teacher classifies correctly and the student alone does not. Returns, for each
/// class, the image to whose class the student alone assigns the lowest probability. Of these, returns at
/// most `count`, with the lowest probabilities, in the order of the classes.
std::vector<std::int64_t> telling_rows(const RunRecord& run, const retort::Tensor& labels, std::size_t count);

/// For each confidence, the test image that the teacher classifies correctly with the nearest probability,
/// without repetitions. Returns fewer images if the teacher classifies fewer correctly.
std::vector<std::int64_t> rows_by_confidence(const RunRecord& run, const retort::Tensor& labels,
                                             const std::vector<double>& confidences);

}  // namespace distill
