// Means over seeds, with confidence intervals.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
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

/// Returns b - a for each pair of values with the same seed; summarise() then gives the paired interval.
/// Throws: ValueError if the numbers of values differ.
[[nodiscard]] std::vector<double> paired_differences(std::span<const double> a, std::span<const double> b);

/// Formats a number with that many decimals.
[[nodiscard]] std::string fixed(double number, int digits);
/// Formats "mean ± half_width" of the 95 % interval with that many decimals; for a single number the mean.
[[nodiscard]] std::string mean_text(std::span<const double> numbers, int digits);
/// Formats the mean of paired_differences(a, b) and its interval as "+1.2 [+0.9, +1.5]"; for a single pair
/// only the mean. A mean that is NaN is "not known", in mean_text() too.
[[nodiscard]] std::string gain_text(std::span<const double> a, std::span<const double> b, int digits);

/// Metrics of several ways of training, one value per seed, and a table that compares them:
///
///     rt::Comparison results({"accuracy, %", "nll"});
///     for (int seed = 0; seed < 5; ++seed) {
///       results.add("alone", {90.1, 0.31});   // of a network trained with this seed
///       results.add("distilled", {91.0, 0.27});
///     }
///     std::cout << rt::text_table(results.table("alone"));
class Comparison {
 public:
  explicit Comparison(std::vector<std::string> metrics) : metrics_(std::move(metrics)) {}

  /// Adds the metrics of one more seed. The seeds of all ways have the same order.
  /// Throws: ValueError unless there is one value per metric.
  void add(std::string_view way, const std::vector<double>& values);
  const std::vector<std::string>& ways() const { return ways_; }  ///< The ways, in order of addition.
  /// The values of a metric, one per seed.
  /// Throws: IndexError if the way was never added or the metric is out of range.
  const std::vector<double>& values(std::string_view way, std::size_t metric = 0) const;
  /// Rows for text_table() and Report::table(): mean ± standard deviation of each way, and gain_text() for
  /// ways with as many seeds as `baseline`, if there are several. The first cell explains them.
  /// Throws: IndexError if `baseline` was never added.
  std::vector<std::vector<std::string>> table(std::string_view baseline, int digits = 4) const;

 private:
  std::vector<std::string> metrics_, ways_;
  std::vector<std::vector<std::vector<double>>> values_;  // per way and metric
};

}  // namespace retort
