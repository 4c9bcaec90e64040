// The end of a training run that no longer improves.
#pragma once

#include <cstdint>
#include <string>

#include "retort/framework/core/state_dict.hpp"

namespace retort {

struct EarlyStoppingOptions {
  std::int64_t patience = 5;  ///< how many metrics in a row may fail to improve before the run is to stop
  double min_delta = 0;       ///< an improvement must be larger than this
  std::string mode = "min";   ///< "min" if a smaller metric is better, or "max"
};

/// Watches a metric, usually of the validation set after each epoch:
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
/// Throws: ValueError for a negative patience or min_delta and for another mode.
/// Prechelt, "Early stopping - but when?" (1998).
class EarlyStopping {
 public:
  explicit EarlyStopping(EarlyStoppingOptions options = {});

  /// Takes the metric in. Returns true if the last `patience` metrics were no improvement on the best one.
  bool step(double metric);
  /// What the last step() returned: true after training has ended, also in a resumed run.
  bool stopped() const { return waited_ > 0 && waited_ >= options_.patience; }
  /// True if the last metric is the best so far, by more than min_delta.
  bool improved() const { return improved_; }
  /// The best metric so far; before the first, infinity with the sign of the worst.
  double best() const { return best_; }

  /// A copy of all that the next step() depends on.
  StateDict state_dict() const;
  /// Throws: ValueError for the state of the other mode, or that lists what is missing, unexpected or of
  /// another shape; then nothing has changed.
  void load_state_dict(const StateDict& state);

 private:
  EarlyStoppingOptions options_;
  double best_;
  std::int64_t waited_ = 0;  // metrics since the best one
  bool improved_ = false;
};

}  // namespace retort
