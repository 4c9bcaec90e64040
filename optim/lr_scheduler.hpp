// Learning rate schedules. A scheduler sets the first rate on construction. Call step() after each epoch, or
// after each batch if the schedule counts batches. The optimiser must outlive the scheduler.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "retort/framework/core/state_dict.hpp"
#include "retort/optim/optimizer.hpp"

namespace [[RETORT_EXPORT]] retort {

namespace detail {
struct ExpectedEntry;
}

/// Base class of schedules. A schedule is a function that returns the rate of each step. This class stores
/// it, counts the steps and sets the optimiser's rates: that of each parameter group, including groups added
/// later, from the group's own initial rate. Schedules that multiply the current rate (StepLR, MultiStepLR,
/// ExponentialLR, LinearLR, CosineAnnealingLR) can be chained on one optimiser, as in PyTorch. A derived
/// class passes its function to the constructor:
///
///     class InverseSquareRoot : public rt::LRScheduler {
///      public:
///       explicit InverseSquareRoot(rt::Optimizer& optimizer)
///           : LRScheduler(optimizer, [](const Moment& at) {
///               return at.base_lr / std::sqrt(at.step + 1.0);
///             }) {}
///     };
class LRScheduler {
 public:
  /// The arguments of a schedule for one parameter group.
  struct Moment {
    std::int64_t step;  ///< number of calls of step(); 0 on construction
    double lr;          ///< the group's rate in the previous step
    double base_lr;     ///< the group's rate before any scheduler changed it
  };
  /// A rate or momentum as a function of the moment.
  using Function = std::function<double(const Moment&)>;

  /// Sets the first rate, rate({0, …}), and, if `momentum` is given, the first momentum.
  /// Throws: ValueError if `rate` is empty; otherwise as step().
  LRScheduler(Optimizer& optimizer, Function rate, Function momentum = {})
      : LRScheduler("LRScheduler", optimizer, std::move(rate), std::move(momentum)) {}
  /// The same with a name for the kind of schedule, a string literal. State dicts contain the name, and a
  /// schedule of a different kind does not load them.
  LRScheduler(const char* kind, Optimizer& optimizer, Function rate, Function momentum = {});
  /// A schedule given by the factor of the base rate for each step: rate = base_lr · factor(step). A callable
  /// that accepts both kinds of arguments, such as a generic lambda, is treated as a function of the Moment.
  template <class Factor>
    requires(!std::is_invocable_v<Factor&, const Moment&> &&
             std::is_invocable_r_v<double, Factor&, std::int64_t>)
  LRScheduler(Optimizer& optimizer, Factor factor)
      : LRScheduler(optimizer, scaled(std::function<double(std::int64_t)>(std::move(factor)))) {}
  virtual ~LRScheduler() = default;
  LRScheduler(const LRScheduler&) = delete;

  /// Sets the rates of the next step. A negative rate of at most 1e-9 times the base rate is treated as a
  /// rounding error of 0. In a chain a rate may be negative until the next schedule changes it; an optimiser
  /// does not step with a negative rate.
  /// Throws: ValueError if a rate is not finite; schedule and optimiser are then unchanged.
  void step();
  /// The rate that this scheduler last set for a group.
  /// Throws: IndexError if it has not set one.
  double last_lr(std::int64_t group = 0) const;
  /// Number of steps taken so far.
  std::int64_t last_epoch() const { return last_epoch_; }
  /// The optimiser whose rates it sets.
  const Optimizer& optimizer() const { return optimizer_; }
  /// True if a SequentialLR uses this schedule. Step the sequence instead of it.
  bool is_in_sequence() const { return is_in_sequence_; }

  /// The position in the schedule.
  virtual StateDict state_dict() const;
  /// Loads the position and sets the optimiser's rates. Warns if the schedule was saved with other options.
  /// Throws: ValueError listing all missing, unexpected and misshaped entries; nothing is then changed.
  virtual void load_state_dict(const StateDict& state);

 private:
  friend class ReduceLROnPlateau;
  friend class SequentialLR;
  LRScheduler(const char* kind, Optimizer& optimizer);  // changes no rate
  void check_state(const char* what, const StateDict& state,
                   std::vector<detail::ExpectedEntry> expected) const;
  static Function scaled(std::function<double(std::int64_t)> factor);
  std::vector<double> base_lrs() const;
  std::vector<double> current_lrs() const;
  void enter(std::int64_t step);
  void put(const std::vector<double>& rates);
  void set(std::int64_t step, const std::vector<double>& rates, const std::vector<double>& bases);

  Optimizer& optimizer_;
  Function rate_, momentum_;
  const char* kind_;
  std::vector<double> base_lrs_, last_lrs_;  // per group
  std::int64_t last_epoch_ = 0;
  bool is_in_sequence_ = false;
};

struct StepLROptions {
  std::int64_t step_size = 0;  ///< required
  double gamma = 0.1;
};
/// Multiplies the rate by gamma every step_size epochs.
/// Throws: ValueError if step_size < 1 or gamma is negative.
struct StepLR : LRScheduler {
  StepLR(Optimizer& optimizer, StepLROptions options);
};

struct MultiStepLROptions {
  std::vector<std::int64_t> milestones = {};  ///< epochs, in any order
  double gamma = 0.1;
};
/// Multiplies the rate by gamma at each milestone, once for each time that it is listed.
/// Throws: ValueError if gamma is negative.
struct MultiStepLR : LRScheduler {
  MultiStepLR(Optimizer& optimizer, MultiStepLROptions options);
};

struct ExponentialLROptions {
  double gamma = 0;  ///< required
};
/// Multiplies the rate by gamma every epoch.
/// Throws: ValueError if gamma is not positive.
struct ExponentialLR : LRScheduler {
  ExponentialLR(Optimizer& optimizer, ExponentialLROptions options);
};

struct LinearLROptions {
  double start_factor = 1.0 / 3;
  double end_factor = 1;
  std::int64_t total_iters = 5;
};
/// Multiplies the base rate by a factor that changes linearly from start_factor to end_factor over
/// total_iters epochs and then remains constant.
/// Throws: ValueError if start_factor is outside (0, 1], end_factor is outside [0, 1], or total_iters < 1.
struct LinearLR : LRScheduler {
  explicit LinearLR(Optimizer& optimizer, LinearLROptions options = {});
};

struct CosineAnnealingLROptions {
  std::int64_t T_max = 0;  ///< epochs from the base rate down to eta_min; required
  double eta_min = 0;
};
/// eta_min + (base - eta_min)·(1 + cos(π·epoch/T_max))/2, by PyTorch's recursion; rises again after T_max.
/// Throws: ValueError if T_max < 1 or eta_min is negative.
/// Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts" (2017), without
/// restarts.
struct CosineAnnealingLR : LRScheduler {
  CosineAnnealingLR(Optimizer& optimizer, CosineAnnealingLROptions options);
};

struct CosineAnnealingWarmRestartsOptions {
  std::int64_t T_0 = 0;     ///< epochs of the first period; required
  std::int64_t T_mult = 1;  ///< factor by which each period is longer than the previous one
  double eta_min = 0;
};
/// eta_min + (base - eta_min)·(1 + cos(π·t/T))/2, where t counts the epochs of the current period of length
/// T.
/// Throws: ValueError if T_0 < 1, T_mult < 1, or eta_min is negative.
/// Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts" (2017).
struct CosineAnnealingWarmRestarts : LRScheduler {
  CosineAnnealingWarmRestarts(Optimizer& optimizer, CosineAnnealingWarmRestartsOptions options);
};

struct WarmupCosineOptions {
  std::int64_t warmup_steps = 0;
  std::int64_t total_steps = 0;  ///< including the warm-up; required
  double min_factor = 0;         ///< factor from total_steps on
};
/// The base rate times a factor: (step + 1)/warmup_steps during the warm-up, then half a cosine from 1 to
/// min_factor: min_factor + (1 - min_factor)·(1 + cos(π·(step - warmup_steps)/(total_steps -
/// warmup_steps)))/2. Not in PyTorch.
/// Throws: ValueError unless 0 <= warmup_steps <= total_steps, 1 <= total_steps and 0 <= min_factor <= 1.
[[nodiscard]] LRScheduler warmup_cosine(Optimizer& optimizer, WarmupCosineOptions options);

struct OneCycleLROptions {
  double max_lr = 0;                             ///< required
  std::optional<std::int64_t> total_steps = {};  ///< or epochs and steps_per_epoch
  std::optional<std::int64_t> epochs = {};
  std::optional<std::int64_t> steps_per_epoch = {};
  double pct_start = 0.3;               ///< fraction of the steps in which the rate rises
  std::string anneal_strategy = "cos";  ///< or "linear"
  bool cycle_momentum = true;           ///< cycle the momentum (Adam: beta1) in the opposite direction
  double base_momentum = 0.85;
  double max_momentum = 0.95;
  double div_factor = 25;         ///< max_lr / first rate
  double final_div_factor = 1e4;  ///< first rate / last rate
  bool three_phase = false;       ///< fall to the first rate in as many steps as the rise, then to the last
};
/// Raises the rate to max_lr and lowers it again within total_steps calls of step(), in PyTorch's phases;
/// rates and momenta are the same for every parameter group. cycle_momentum replaces the optimiser's
/// momentum, even 0, as in PyTorch: set it to false for SGD without momentum.
/// Throws: ValueError if an option is out of range or the kind of optimiser has no momentum to cycle
/// (Adagrad); step() throws ValueError after the last step.
/// Source: Smith and Topin, "Super-convergence: very fast training of neural networks using large learning
/// rates" (2018).
class OneCycleLR : public LRScheduler {
 public:
  OneCycleLR(Optimizer& optimizer, OneCycleLROptions options);

 private:
  struct Cycle;
  OneCycleLR(const Cycle& cycle, Optimizer& optimizer);
};

struct LambdaLROptions {
  std::function<double(std::int64_t)> lr_lambda = {};  ///< the factor of an epoch; required
};
/// The base rate times lr_lambda(epoch).
/// Throws: ValueError if the function is empty or a rate is negative.
struct LambdaLR : LRScheduler {
  LambdaLR(Optimizer& optimizer, LambdaLROptions options);
};

struct LinearWarmupOptions {
  std::int64_t warmup_steps = 0;
};
/// The base rate times min(1, (step + 1)/warmup_steps). Not in PyTorch.
/// Throws: ValueError if warmup_steps is negative.
struct LinearWarmup : LRScheduler {
  LinearWarmup(Optimizer& optimizer, LinearWarmupOptions options);
};

/// A sequence of schedules: schedules[i] runs from milestones[i - 1] until milestones[i], starting at its own
/// step 0 from the base rates. Only the functions of the schedules are used: their step() is not called, and
/// they need not outlive the sequence. The state is the sequence's own position.
///
///     rt::LinearLR warmup(optimizer, {.start_factor = 0.1, .total_iters = 5});
///     rt::CosineAnnealingLR cosine(optimizer, {.T_max = 95});
///     rt::SequentialLR schedule(optimizer, {&warmup, &cosine}, {5});
///
/// Throws: ValueError unless there is at least one schedule, all are non-null and belong to one optimiser,
/// none is a ReduceLROnPlateau, and there is one milestone fewer than schedules, all positive and increasing.
class SequentialLR : public LRScheduler {
 public:
  SequentialLR(Optimizer& optimizer, const std::vector<LRScheduler*>& schedules,
               std::vector<std::int64_t> milestones);

 private:
  struct Parts;
  SequentialLR(const Parts& parts, Optimizer& optimizer);
};

struct ReduceLROnPlateauOptions {
  std::string mode = "min";  ///< "min" if a smaller metric is better, or "max"
  double factor = 0.1;
  std::int64_t patience = 10;          ///< number of epochs without improvement to tolerate
  double threshold = 1e-4;             ///< smaller changes of the metric are not improvements
  std::string threshold_mode = "rel";  ///< relative to the best so far, or "abs"
  std::int64_t cooldown = 0;  ///< number of epochs after a reduction in which bad epochs are not counted
  double min_lr = 0;
  double eps = 1e-8;  ///< smaller changes of the rate are not made
};
/// Multiplies the rate of each group by `factor` when a metric has not improved for more than `patience`
/// epochs.
/// Edge cases: a NaN metric is not an improvement.
/// Throws: ValueError if factor is outside [0, 1), a mode is unknown, or a count, min_lr or eps is negative.
class ReduceLROnPlateau : public LRScheduler {
 public:
  explicit ReduceLROnPlateau(Optimizer& optimizer, ReduceLROnPlateauOptions options = {});

  /// Call it after each epoch, instead of LRScheduler::step(), which throws a ValueError for this schedule.
  void step(double metric);
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

 private:
  bool improves(double metric) const;

  ReduceLROnPlateauOptions options_;
  double best_;
  std::int64_t bad_epochs_ = 0;
  std::int64_t cooldown_left_ = 0;
};

}  // namespace retort
