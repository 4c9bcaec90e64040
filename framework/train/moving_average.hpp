// Averages of a model's weights during training.
#pragma once

#include <string>
#include <vector>

#include "retort/framework/core/state_dict.hpp"

namespace [[RETORT_EXPORT]] retort {

class Module;

struct ExponentialMovingAverageOptions {
  double decay = 0.999;  ///< weight of the average in each update
};

/// A moving average of a module's parameters, a = decay·a + (1 - decay)·p at each update(), starting from
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
/// It holds handles to the parameters and buffers, not to the module.
/// Throws: ValueError if decay is outside [0, 1].
/// Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992), with
/// exponential weights.
class ExponentialMovingAverage {
 public:
  /// During its lifetime the module has the averages; its own values are then restored.
  class Applied {
   public:
    ~Applied();
    Applied(const Applied&) = delete;

   private:
    friend class ExponentialMovingAverage;
    explicit Applied(ExponentialMovingAverage& average);
    ExponentialMovingAverage& average_;
  };

  explicit ExponentialMovingAverage(const Module& module, ExponentialMovingAverageOptions options = {});
  ExponentialMovingAverage(const ExponentialMovingAverage&) = delete;
  ExponentialMovingAverage& operator=(const ExponentialMovingAverage&) = delete;

  /// Adds the current values to the averages. Call it after each step of the optimiser.
  /// Throws: ValueError while the averages are applied.
  void update();
  /// Puts the averages into the module for the lifetime of the result.
  /// Throws: ValueError if they are applied already.
  [[nodiscard]] Applied apply();
  bool is_applied() const { return applied_; }  ///< True while the averages are applied.
  /// True if it averages a parameter or buffer of the module.
  bool tracks(const Module& module) const;

  /// The averages, named as in the module's state dict; tied weights are listed once.
  StateDict state_dict() const;
  /// Restores a state_dict().
  /// Throws: ValueError listing all missing, unexpected and misshaped entries; nothing is then changed.
  void load_state_dict(const StateDict& state);

 private:
  struct Entry {
    std::string name;
    Tensor source;   ///< the module's handle
    Tensor average;  ///< while applied, the module's own values
    bool averaged;   ///< false for a buffer
  };
  void swap();

  double decay_;
  bool applied_ = false;
  std::vector<Entry> entries_;
};

}  // namespace retort
