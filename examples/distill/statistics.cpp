#include "statistics.hpp"

#include <cmath>
#include <numbers>

namespace distill {
namespace {

// P(|T| <= sqrt(degrees)·tan(angle)): Abramowitz and Stegun, "Handbook of mathematical functions" (1964), 26.7.3 and
// 26.7.4, finite sums in powers of the cosine.
double probability_within(double angle, std::size_t degrees) {
  const double sine = std::sin(angle), cosine = std::cos(angle);
  const bool odd = degrees % 2 == 1;
  double term = odd ? cosine : 1;
  double sum = 0;
  for (std::size_t power = odd ? 1 : 0; power + 2 <= degrees; power += 2) {
    sum += term;
    term *= cosine * cosine * static_cast<double>(power + 1) / static_cast<double>(power + 2);
  }
  return odd ? 2 / std::numbers::pi * (angle + sine * sum) : sine * sum;
}

}  // namespace

Summary summarise(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  long double sum = 0;  // so that the mean of decimal fractions is one, too
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
  double low = 0, high = std::numbers::pi / 2;
  for (int i = 0; i < 64; ++i) {  // bisection, to the last bit
    const double middle = (low + high) / 2;
    (probability_within(middle, degrees) < confidence ? low : high) = middle;
  }
  return std::sqrt(static_cast<double>(degrees)) * std::tan(low);
}

}  // namespace distill
