// Means over seeds, with confidence intervals.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Summary of a sample, such as the accuracies of several seeds.
struct SampleSummary {
  std::int64_t count = 0;
  double mean = 0;  ///< NaN without numbers
  double std = 0;   ///< with divisor count - 1; 0 for a single number
  /// Half the width of the 95 % confidence interval of the mean, by Student's t; NaN for fewer than two
  /// numbers.
  double half_width = 0;
};

/// Returns mean, standard deviation and 95 % confidence interval of the numbers.
[[nodiscard]] SampleSummary summarise(std::span<const double> numbers);

/// Returns b - a for each pair, for two methods with the same seeds; summarise() then gives the paired
/// interval.
/// Throws: ValueError if the numbers of values differ.
[[nodiscard]] std::vector<double> paired_differences(std::span<const double> a, std::span<const double> b);

/// Formats a number with that many decimals.
[[nodiscard]] std::string fixed(double number, int digits);
/// Formats "mean ± half_width" of the numbers with that many decimals; for a single number only the mean.
[[nodiscard]] std::string mean_text(std::span<const double> numbers, int digits);

}  // namespace retort
