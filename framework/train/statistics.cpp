#include "retort/framework/train/statistics.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

#include "retort/framework/base/error.hpp"

namespace retort {
namespace {

/// The 97.5 % quantile of Student's t: exact for few degrees of freedom, otherwise by its expansion in 1 /
/// freedom, with an error below 0.001 (Abramowitz and Stegun, 26.7.5).
double t_quantile(std::int64_t freedom) {
  constexpr std::array<double, 6> exact = {12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912};
  if (freedom <= static_cast<std::int64_t>(exact.size())) return exact[static_cast<std::size_t>(freedom - 1)];
  const double z = 1.959964, n = static_cast<double>(freedom);
  const double z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;
  return z + (z3 + z) / (4 * n) + (5 * z5 + 16 * z3 + 3 * z) / (96 * n * n) +
         (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * n * n * n);
}

}  // namespace

SampleSummary summarise(std::span<const double> numbers) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const auto n = static_cast<double>(numbers.size());
  SampleSummary summary{.count = static_cast<std::int64_t>(numbers.size()), .mean = nan, .half_width = nan};
  if (numbers.empty()) return summary;
  double sum = 0, squares = 0;
  for (const double number : numbers) sum += number;
  summary.mean = sum / n;
  if (numbers.size() < 2) return summary;
  for (const double number : numbers) squares += (number - summary.mean) * (number - summary.mean);
  summary.std = std::sqrt(squares / (n - 1));
  summary.half_width = t_quantile(summary.count - 1) * summary.std / std::sqrt(n);
  return summary;
}

std::vector<double> paired_differences(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size())
    throw ValueError(message("paired_differences: {} and {} values cannot be paired", a.size(), b.size()));
  std::vector<double> differences;
  for (std::size_t i = 0; i < a.size(); ++i) differences.push_back(b[i] - a[i]);
  return differences;
}

std::string fixed(double number, int digits) {
  std::array<char, 400> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, number);
  return text.data();
}

std::string mean_text(std::span<const double> numbers, int digits) {
  const SampleSummary summary = summarise(numbers);
  const std::string mean = fixed(summary.mean, digits);
  return summary.count < 2 ? mean : mean + " ± " + fixed(summary.half_width, digits);
}

}  // namespace retort
