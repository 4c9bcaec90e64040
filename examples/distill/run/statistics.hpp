// Statistics over several runs.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace distill {

struct Summary {
  double mean = 0;
  double std = 0;  ///< sample standard deviation (divided by n - 1); 0 for one value
};
Summary summarise(const std::vector<double>& values);

/// Comparison of two ways on the same seeds.
struct Paired {
  struct Interval {
    double low = 0;
    double high = 0;
  };
  double mean = 0;                        ///< mean of candidate - baseline
  std::optional<Interval> interval = {};  ///< 95 %: mean ± t·s/√n with Student's t; empty for one pair
  std::size_t wins = 0;                   ///< pairs in which the candidate is better; ties do not count
};
/// Compares the values of the same seeds. Both lists have the same length, at least 1.
Paired compare(const std::vector<double>& baseline, const std::vector<double>& candidate,
               bool larger_is_better);

/// The t with P(|T| <= t) = confidence for Student's t-distribution. `degrees` of freedom are at least 1.
double student_t(std::size_t degrees, double confidence);

}  // namespace distill
