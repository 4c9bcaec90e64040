// Boost's exceptions with attached information would be exported by the shared library.
#define BOOST_EXCEPTION_DISABLE
#include "retort/framework/train/statistics.hpp"

#include <algorithm>
#include <array>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/error.hpp"

namespace retort {
namespace {

/// The 97.5 % quantile of Student's t-distribution.
double t_quantile(std::int64_t freedom) {
  return boost::math::quantile(boost::math::students_t(static_cast<double>(freedom)), 0.975);
}

std::string known(double number, int digits) {
  return std::isnan(number) ? "not known" : fixed(number, digits);
}

}  // namespace

SampleSummary summarise(std::span<const double> numbers) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const auto n = static_cast<double>(numbers.size());
  SampleSummary summary{.count = static_cast<std::int64_t>(numbers.size()), .mean = nan, .half_width = nan};
  if (numbers.empty()) return summary;
  long double sum = 0;  // avoids rounding errors in means of decimal fractions
  double squares = 0;
  for (const double number : numbers) sum += number;
  summary.mean = static_cast<double>(sum / n);
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
  const bool is_zero = std::strpbrk(text.data(), "123456789in") == nullptr;  // "inf" and "nan" are not
  return text.data() + (is_zero && text[0] == '-' ? 1 : 0);
}

std::string mean_text(std::span<const double> numbers, int digits) {
  const SampleSummary summary = summarise(numbers);
  const std::string mean = known(summary.mean, digits);
  return std::isnan(summary.half_width) ? mean : mean + " ± " + fixed(summary.half_width, digits);
}

std::string gain_text(std::span<const double> a, std::span<const double> b, int digits) {
  const SampleSummary gain = summarise(paired_differences(a, b));
  const auto text = [&](double number) {
    const std::string unsigned_text = known(number, digits);
    return (std::strtod(unsigned_text.c_str(), nullptr) > 0 ? "+" : "") + unsigned_text;
  };
  if (std::isnan(gain.half_width)) return text(gain.mean);
  return message("{} [{}, {}]", text(gain.mean), text(gain.mean - gain.half_width),
                 text(gain.mean + gain.half_width));
}

void Comparison::add(std::string_view way, const std::vector<double>& values) {
  if (values.size() != metrics_.size())
    throw ValueError(message("Comparison: '{}' has {} for {}", way, detail::counted(values.size(), "value"),
                             detail::counted(metrics_.size(), "metric")));
  const auto at = static_cast<std::size_t>(std::ranges::find(ways_, way) - ways_.begin());
  if (at == ways_.size()) {
    ways_.emplace_back(way);
    values_.emplace_back(metrics_.size());
  }
  for (std::size_t m = 0; m < values.size(); ++m) values_[at][m].push_back(values[m]);
}

const std::vector<double>& Comparison::values(std::string_view way, std::size_t metric) const {
  const auto at = static_cast<std::size_t>(std::ranges::find(ways_, way) - ways_.begin());
  if (at == ways_.size()) throw IndexError(message("Comparison: '{}' was never added", way));
  if (metric >= metrics_.size())
    throw IndexError(message("Comparison: metric {} is out of range [0, {})", metric, metrics_.size()));
  return values_[at][metric];
}

std::vector<std::vector<std::string>> Comparison::table(std::string_view baseline, int digits) const {
  if (std::ranges::count(ways_, baseline) == 0)
    throw IndexError(
        message("Comparison: '{}' was never added, so that it cannot be the baseline", baseline));
  std::vector<std::vector<std::string>> rows = {{""}};
  rows[0].insert(rows[0].end(), metrics_.begin(), metrics_.end());
  bool has_gains = false;
  for (const std::string& way : ways_) {
    std::vector<std::string>& row = rows.emplace_back(1, way);
    for (std::size_t m = 0; m < metrics_.size(); ++m) {
      const std::vector<double>&base = values(baseline, m), &own = values(way, m);
      const SampleSummary summary = summarise(own);
      row.push_back(known(summary.mean, digits));
      if (summary.count < 2) continue;
      if (std::isfinite(summary.std)) row.back() += " ±" + fixed(summary.std, digits);
      rows[0][0] = "mean ±std";
      if (way == baseline || own.size() != base.size()) continue;
      row.back() += "; " + gain_text(base, own, digits);
      has_gains = true;
    }
  }
  if (has_gains) rows[0][0] += "; gain [95 %]";
  return rows;
}

}  // namespace retort
