// Learning rates that change over time. A scheduler sets the first rate when it is made; step() is called
// after each epoch (or batch, where the schedule counts batches). It refers to its optimiser, which must live
// longer.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "retort/framework/core/state_dict.hpp"
#include "retort/optim/optimizer.hpp"

namespace retort {

/// A schedule is a function that gives the rate of each step. This class holds it, counts the steps and sets the
/// optimiser's rate. Schedules that multiply the current rate (StepLR, LinearLR, CosineAnnealingLR) can be chained on
/// one optimiser, as in PyTorch. A derived class passes its function to the constructor:
///
///     class InverseSquareRoot : public rt::LRScheduler {
///      public:
///       explicit InverseSquareRoot(rt::Optimizer& optimizer)
///           : LRScheduler(optimizer, [](const Moment& at) { return at.base_lr / std::sqrt(at.step + 1.0); }) {}
///     };
class LRScheduler {
 public:
  /// The point in time at which a schedule is evaluated.
  struct Moment {
    std::int64_t step;  ///< 0 when the schedule is constructed, then the number of calls of step()
    double lr;          ///< the rate of the previous step
    double base_lr;     ///< the optimiser's rate before any scheduler changed it
  };
  /// A rate, or momentum, as a function of the moment.
  using Function = std::function<double(const Moment&)>;

  /// Sets the first rate, rate({0, …}), and with it the first momentum if `momentum` is given.
  /// Throws: ValueError for an empty `rate`, and as step() does.
  LRScheduler(Optimizer& optimizer, Function rate, Function momentum = {});
  /// A schedule given as the factor of the base rate for each step: rate = base_lr · factor(step).
  LRScheduler(Optimizer& optimizer, std::function<double(std::int64_t)> factor)
      : LRScheduler(optimizer, factor ? Function([factor = std::move(factor)](const Moment& at) {
                      return at.base_lr * factor(at.step);
                    })
                                      : Function()) {}
  virtual ~LRScheduler() = default;
  LRScheduler(const LRScheduler&) = delete;
  LRScheduler& operator=(const LRScheduler&) = delete;

  /// Sets the rate of the next step. In a chain, a rate may be negative until the next schedule has changed it; an
  /// optimiser refuses to step with one.
  /// Throws: ValueError for a rate of NaN. The schedule and the optimiser are then unchanged.
  void step();
  /// The rate that this scheduler set last.
  double last_lr() const { return last_lr_; }
  /// The number of steps taken so far.
  std::int64_t last_epoch() const { return last_epoch_; }

  /// The position in the schedule. Loading it also sets the optimiser's rate.
  /// Throws: ValueError that lists what is missing, unexpected or of another shape; then nothing has changed.
  StateDict state_dict() const;
  void load_state_dict(const StateDict& state);

 private:
  void enter(std::int64_t step);
  void set(double lr, const Moment& at);

  Optimizer& optimizer_;
  Function rate_;
  Function momentum_;
  double base_lr_;
  double last_lr_;
  std::int64_t last_epoch_ = 0;
};

struct StepLROptions {
  std::int64_t step_size = 0;  ///< to be given
  double gamma = 0.1;
};
/// Multiplies the rate by gamma every step_size epochs. ValueError for a step_size below 1.
class StepLR : public LRScheduler {
 public:
  StepLR(Optimizer& optimizer, StepLROptions options);
};

struct LinearLROptions {
  double start_factor = 1.0 / 3;
  double end_factor = 1;
  std::int64_t total_iters = 5;
};
/// Multiplies the base rate by a factor that changes linearly from start_factor to end_factor over total_iters epochs
/// and then stays. Throws: ValueError for start_factor outside (0, 1], end_factor outside [0, 1] or total_iters below 1.
class LinearLR : public LRScheduler {
 public:
  explicit LinearLR(Optimizer& optimizer, LinearLROptions options = {});
};

struct CosineAnnealingLROptions {
  std::int64_t T_max = 0;  ///< epochs from the base rate down to eta_min; to be given
  double eta_min = 0;
};
/// eta_min + (base - eta_min)·(1 + cos(π·epoch/T_max))/2, by PyTorch's recursion; beyond T_max it rises
/// again. Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts" (2017), without the
/// restarts. ValueError for a T_max below 1 or a negative eta_min.
class CosineAnnealingLR : public LRScheduler {
 public:
  CosineAnnealingLR(Optimizer& optimizer, CosineAnnealingLROptions options);
};

struct OneCycleLROptions {
  double max_lr = 0;                             ///< to be given
  std::optional<std::int64_t> total_steps = {};  ///< or the two below
  std::optional<std::int64_t> epochs = {};
  std::optional<std::int64_t> steps_per_epoch = {};
  double pct_start = 0.3;               ///< the part of the steps in which the rate rises
  std::string anneal_strategy = "cos";  ///< or "linear"
  bool cycle_momentum = true;           ///< momentum, in the Adam family beta1, moves the other way
  double base_momentum = 0.85;
  double max_momentum = 0.95;
  double div_factor = 25;         ///< max_lr / first rate
  double final_div_factor = 1e4;  ///< first rate / last rate
  bool three_phase = false;       ///< down to the first rate as slowly as up, then to the last
};
/// Up to max_lr and down again within total_steps calls of step(): Smith and Topin, "Super-convergence"
/// (2018), with PyTorch's phases. ValueError for options out of range, an optimiser without momentum to
/// cycle, and a step beyond the last.
class OneCycleLR : public LRScheduler {
 public:
  OneCycleLR(Optimizer& optimizer, OneCycleLROptions options);

 private:
  struct Cycle;
  OneCycleLR(Optimizer& optimizer, const Cycle& cycle);
};

struct LambdaLROptions {
  std::function<double(std::int64_t)> lr_lambda = {};  ///< the factor of an epoch; to be given
};
/// The base rate times lr_lambda(epoch). ValueError for an empty function or a negative rate.
class LambdaLR : public LRScheduler {
 public:
  LambdaLR(Optimizer& optimizer, LambdaLROptions options);
};

struct LinearWarmupOptions {
  std::int64_t warmup_steps = 0;
};
/// The base rate times min(1, (step + 1)/warmup_steps). Not in PyTorch. ValueError for a negative
/// warmup_steps.
class LinearWarmup : public LRScheduler {
 public:
  LinearWarmup(Optimizer& optimizer, LinearWarmupOptions options);
};

struct ReduceLROnPlateauOptions {
  std::string mode = "min";  ///< what is better: less, or "max", more
  double factor = 0.1;
  std::int64_t patience = 10;          ///< number of epochs without improvement to tolerate
  double threshold = 1e-4;             ///< what counts as an improvement
  std::string threshold_mode = "rel";  ///< relative to the best so far, or "abs"
  std::int64_t cooldown = 0;           ///< epochs after a reduction in which nothing is counted
  double min_lr = 0;
  double eps = 1e-8;  ///< a smaller change of the rate is not made
};
/// Multiplies the rate by factor when a metric has not improved for more than `patience` epochs. A NaN metric
/// is no improvement. ValueError for a factor outside [0, 1), unknown modes and negative counts.
class ReduceLROnPlateau {
 public:
  explicit ReduceLROnPlateau(Optimizer& optimizer, ReduceLROnPlateauOptions options = {});
  ReduceLROnPlateau(const ReduceLROnPlateau&) = delete;
  ReduceLROnPlateau& operator=(const ReduceLROnPlateau&) = delete;

  /// Takes the metric of an epoch and reduces the rate if it is due.
  void step(double metric);
  double last_lr() const { return last_lr_; }
  /// As LRScheduler's.
  StateDict state_dict() const;
  void load_state_dict(const StateDict& state);

 private:
  bool improves(double metric) const;

  Optimizer& optimizer_;
  ReduceLROnPlateauOptions options_;
  double best_;
  double last_lr_;
  std::int64_t bad_epochs_ = 0;
  std::int64_t cooldown_left_ = 0;
};

}  // namespace retort
