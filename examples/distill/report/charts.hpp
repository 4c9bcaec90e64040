// The networks and the charts of a report.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "distill/report/run_record.hpp"

namespace distill {

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
/// The networks whose predictions are in the run.
inline std::span<const Network> networks_of(const RunRecord& run) {
  return std::span(networks).subspan(run.teacher.defined() ? 0 : 1);
}

struct Chart {
  std::string title = {};
  retort::ReportAxes axes = {};
  std::vector<retort::ReportSeries> series = {};
};
/// Loss, accuracy and log-likelihood over the epochs: separate charts of the teacher and of the students. The
/// lines of the students are means over the seeds; the bands extend from minimum to maximum. Metrics that
/// the run did not measure are omitted.
std::vector<Chart> learning_charts(const RunRecord& run);

}  // namespace distill
