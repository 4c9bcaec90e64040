// Charts and page template of reports. Internal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "retort/framework/train/metrics.hpp"
#include "retort/framework/train/report.hpp"

namespace retort::detail {

/// The bins of metrics::reliability and the error of metrics::ece.
struct Calibration {
  std::vector<metrics::ReliabilityBin> bins = {};
  double error = 0;
};
/// Throws: the errors of metrics::ece, which name the operation.
Calibration calibration_of(const char* operation, const Tensor& logits, const Tensor& labels,
                           std::int64_t bins = 15);

/// The page template, with {title} twice and {sections} once.
extern const char* const report_page;

/// Formats numbers as std::printf.
std::string printed(const char* format, double value);
/// The colour of series k, legible on light and dark backgrounds.
std::string series_color(const std::string& chosen, std::size_t k);

/// Each returns an <svg> element.
std::string curves_svg(std::string_view title, const ReportAxes& axes,
                       const std::vector<ReportSeries>& series);
std::string scatter_svg(std::string_view title, const ReportAxes& axes,
                        const std::vector<ReportPoint>& points);
std::string differences_svg(std::string_view title, std::string_view unit, std::span<const double> values);
std::string calibration_svg(std::string_view title, const std::vector<metrics::ReliabilityBin>& bins,
                            double all);
std::string heat_map_svg(std::string_view title, const Tensor& values,
                         const std::vector<std::string>& row_names,
                         const std::vector<std::string>& column_names);

}  // namespace retort::detail
