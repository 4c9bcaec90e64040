// Statistics over several runs.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace distill {

struct Summary {
  double mean = 0;
  double std = 0;  ///< of the sample (divided by n - 1); 0 for one value
};
Summary summarise(const std::vector<double>& values);

/// Two ways compared on the same seeds.
struct Paired {
  struct Interval {
    double low = 0;
    double high = 0;
  };
  double mean = 0;                        ///< of candidate - baseline
  std::optional<Interval> interval = {};  ///< 95 %: mean ± t·s/√n with Student's t; one pair has none
  std::size_t wins = 0;                   ///< pairs in which the candidate is better; a tie is not
};
/// Values of the same length, at least one; position i of both belongs to one seed.
Paired compare(const std::vector<double>& baseline, const std::vector<double>& candidate,
               bool larger_is_better);

/// The t with P(|T| <= t) = confidence for Student's distribution with that many degrees of freedom, at least
/// 1.
double student_t(std::size_t degrees, double confidence);

}  // namespace distill
