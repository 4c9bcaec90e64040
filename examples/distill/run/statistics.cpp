#include "distill/run/statistics.hpp"

#include <boost/math/distributions/students_t.hpp>
#include <cmath>

namespace distill {
Summary summarise(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  long double sum = 0;  // avoids rounding errors in means of decimal fractions
  for (const double value : values) sum += value;
  const auto mean = static_cast<double>(sum / n);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, values.size() > 1 ? std::sqrt(squares / (n - 1)) : 0};
}

Paired compare(const std::vector<double>& baseline, const std::vector<double>& candidate,
               bool larger_is_better) {
  std::vector<double> differences;
  Paired paired;
  for (std::size_t i = 0; i < baseline.size(); ++i) {
    differences.push_back(candidate[i] - baseline[i]);
    paired.wins += larger_is_better ? differences[i] > 0 : differences[i] < 0;
  }
  const Summary summary = summarise(differences);
  paired.mean = summary.mean;
  if (differences.size() > 1) {
    const double half = student_t(differences.size() - 1, 0.95) * summary.std /
                        std::sqrt(static_cast<double>(differences.size()));
    paired.interval = {summary.mean - half, summary.mean + half};
  }
  return paired;
}

double student_t(std::size_t degrees, double confidence) {
  return boost::math::quantile(boost::math::students_t(static_cast<double>(degrees)), (1 + confidence) / 2);
}

}  // namespace distill
