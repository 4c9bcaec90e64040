// Early stopping of training runs.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "retort/framework/core/state_dict.hpp"

namespace [[RETORT_EXPORT]] retort {

struct EarlyStoppingOptions {
  std::int64_t patience = 5;  ///< number of consecutive metrics without improvement after which to stop
  double min_delta = 0;       ///< minimum improvement (exclusive)
  std::string mode = "min";   ///< "min" if a smaller metric is better, or "max"
};

/// Monitors a metric, usually on the validation set after each epoch:
///
///     rt::EarlyStopping stop({.patience = 5});
///     for (…) {
///       …
///       const bool ends = stop.step(validation_loss);
///       checkpoint.save(epoch, "{}", stop.improved());
///       if (ends) break;
///     }
///
/// Edge cases: a NaN metric is not an improvement; a patience of 0 counts as 1.
/// Throws: ValueError if patience or min_delta is negative, or the mode is unknown.
/// Source: Prechelt, "Early stopping - but when?" (1998).
class EarlyStopping {
 public:
  explicit EarlyStopping(EarlyStoppingOptions options = {});
  explicit EarlyStopping(std::initializer_list<detail::NoOptions>) : EarlyStopping() {}

  /// Records the metric. Returns true if none of the last `patience` metrics improved on the best one.
  bool step(double metric);
  /// The result of the last step(): true after training has ended, also in a resumed run.
  bool stopped() const { return waited_ > 0 && waited_ >= options_.patience; }
  /// True if the last metric improved on all others by more than min_delta.
  bool improved() const { return improved_; }
  /// The best metric so far; initially +infinity for mode "min" and -infinity for "max".
  double best() const { return best_; }

  /// A copy of the state needed by the next step().
  StateDict state_dict() const;
  /// Restores a state_dict().
  /// Throws: ValueError listing all missing, unexpected and misshaped entries; nothing is then changed.
  void load_state_dict(const StateDict& state);

 private:
  EarlyStoppingOptions options_;
  double best_;
  std::int64_t waited_ = 0;  // metrics since the best one
  bool improved_ = false;
};

}  // namespace retort
