// Means over seeds, and how sure they are.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace retort {

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

}  // namespace retort
