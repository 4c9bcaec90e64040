// Means over seeds, and how sure they are.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A sample of numbers, such as the accuracies of several seeds.
struct SampleSummary {
  std::int64_t count = 0;
  double mean = 0;  ///< NaN for no numbers
  double std = 0;   ///< with divisor count - 1; 0 for a single number
  /// Half the width of the 95 % interval of the mean, by Student's t; NaN for fewer than two numbers.
  double half_width = 0;
};

/// Mean, standard deviation and 95 % interval of the numbers.
[[nodiscard]] SampleSummary summarise(std::span<const double> numbers);

/// b - a for each pair, of two ways that share their seeds; summarise() then gives the paired interval.
/// Throws: ValueError if the numbers of values differ.
[[nodiscard]] std::vector<double> paired_differences(std::span<const double> a, std::span<const double> b);

/// A number with that many digits after the point.
[[nodiscard]] std::string fixed(double number, int digits);
/// "mean ± half_width" of the numbers with that many digits after the point, or the mean alone of a single
/// number.
[[nodiscard]] std::string mean_text(std::span<const double> numbers, int digits);

}  // namespace retort
