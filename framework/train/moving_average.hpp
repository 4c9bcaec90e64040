// Averages of a model's weights during training.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "retort/framework/core/state_dict.hpp"

namespace [[RETORT_EXPORT]] retort {

class Module;

struct ExponentialMovingAverageOptions {
  double decay = 0.999;  ///< weight of the average in each update
};

/// A running average of a module's parameters, a = decay·a + (1 - decay)·p at each update(), that starts at
/// their current values. Buffers, such as running means, are copied. The averaged model often generalises
/// better than the last one.
///
///     rt::ExponentialMovingAverage ema(model, {.decay = 0.999});
///     …
///     optimizer.step();
///     ema.update();
///     …
///     { const auto averaged = ema.apply(); accuracy = evaluate(model); }
///
/// It holds handles to the parameters and buffers, not the module itself.
/// Throws: ValueError for a decay outside [0, 1].
/// Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992), with exponential
/// weights.
class ExponentialMovingAverage {
 public:
  /// While it lives, the module holds the averages; then its own values again.
  class Applied {
   public:
    ~Applied();
    Applied(const Applied&) = delete;
    Applied& operator=(const Applied&) = delete;

   private:
    friend class ExponentialMovingAverage;
    explicit Applied(ExponentialMovingAverage& average);
    ExponentialMovingAverage& average_;
  };

  explicit ExponentialMovingAverage(const Module& module, ExponentialMovingAverageOptions options = {});
  ExponentialMovingAverage(const ExponentialMovingAverage&) = delete;
  ExponentialMovingAverage& operator=(const ExponentialMovingAverage&) = delete;

  /// Takes the current values in; to be called after each step of the optimiser.
  /// Throws: ValueError while the averages are in the module.
  void update();
  /// Puts the averages into the module for the lifetime of what it returns.
  /// Throws: ValueError if they are there already.
  [[nodiscard]] Applied apply();
  /// True while the averages are in the module.
  bool is_applied() const { return applied_; }

  /// The averages under the names of the module's state dict; tied weights are listed once.
  StateDict state_dict() const;
  /// Throws: ValueError that lists what is missing, unexpected or of another shape; then nothing has changed.
  void load_state_dict(const StateDict& state);

 private:
  struct Entry {
    std::string name;
    Tensor source;   ///< the module's own handle
    Tensor average;  ///< while applied, the module's own values
    bool averaged;   ///< false for a buffer
  };
  void swap();

  double decay_;
  bool applied_ = false;
  std::vector<Entry> entries_;
};

}  // namespace retort
