#include "retort/optim/lr_scheduler.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <numbers>
#include <utility>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/core/state_checks.hpp"

namespace retort {
namespace {

constexpr double pi = std::numbers::pi;

/// A negative rate of at most this fraction of the base rate is treated as a rounding error of 0.
constexpr double rounding = 1e-9;

Tensor number(double value) { return full({}, value, DType::float64); }

/// The shape of one value per parameter group: () if there is one group.
Shape group_shape(const Optimizer& optimizer) {
  return optimizer.group_count() == 1 ? Shape{} : Shape{optimizer.group_count()};
}
Tensor per_group(const std::vector<double>& values) {
  return values.size() == 1 ? number(values.front()) : tensor(values);
}

std::int64_t count(const StateDict& dict, const char* scheduler, const char* name) {
  const auto value = dict.at(name).item<double>();
  detail::require_option(value >= 0 && value < 0x1p53, scheduler, name, value, "a count");
  return static_cast<std::int64_t>(value);
}

StepLROptions checked(StepLROptions options) {
  detail::require_option(options.step_size >= 1, "StepLR", "step_size", options.step_size, "at least 1");
  detail::require_at_least_0("StepLR", "gamma", options.gamma);
  return options;
}

MultiStepLROptions checked(MultiStepLROptions options) {
  detail::require_at_least_0("MultiStepLR", "gamma", options.gamma);
  return options;
}

ExponentialLROptions checked(ExponentialLROptions options) {
  detail::require_finite("ExponentialLR", "gamma", options.gamma);
  detail::require_option(options.gamma > 0, "ExponentialLR", "gamma", options.gamma,
                         "given and greater than 0");
  return options;
}

LinearLROptions checked(LinearLROptions options) {
  const auto& [start_factor, end_factor, total_iters] = options;
  detail::require_option(start_factor > 0 && start_factor <= 1, "LinearLR", "start_factor", start_factor,
                         "in (0, 1]");
  detail::require_option(end_factor >= 0 && end_factor <= 1, "LinearLR", "end_factor", end_factor,
                         "in [0, 1]");
  detail::require_option(total_iters >= 1, "LinearLR", "total_iters", total_iters, "at least 1");
  return options;
}

CosineAnnealingLROptions checked(CosineAnnealingLROptions options) {
  detail::require_option(options.T_max >= 1, "CosineAnnealingLR", "T_max", options.T_max, "at least 1");
  detail::require_at_least_0("CosineAnnealingLR", "eta_min", options.eta_min);
  return options;
}

CosineAnnealingWarmRestartsOptions checked(CosineAnnealingWarmRestartsOptions options) {
  const char* const name = "CosineAnnealingWarmRestarts";
  detail::require_option(options.T_0 >= 1, name, "T_0", options.T_0, "at least 1");
  detail::require_option(options.T_mult >= 1, name, "T_mult", options.T_mult, "at least 1");
  detail::require_at_least_0(name, "eta_min", options.eta_min);
  return options;
}

WarmupCosineOptions checked(WarmupCosineOptions options) {
  const auto& [warmup, total, min_factor] = options;
  detail::require_option(total >= 1, "warmup_cosine", "total_steps", total, "given and at least 1");
  detail::require_option(warmup >= 0 && warmup <= total, "warmup_cosine", "warmup_steps", warmup,
                         "in [0, total_steps]");
  detail::require_option(min_factor >= 0 && min_factor <= 1, "warmup_cosine", "min_factor", min_factor,
                         "in [0, 1]");
  return options;
}

LambdaLROptions checked(LambdaLROptions options) {
  if (!options.lr_lambda)
    throw ValueError("LambdaLR: lr_lambda is empty; give a function from the epoch to a factor");
  return options;
}

LinearWarmupOptions checked(LinearWarmupOptions options) {
  detail::require_option(options.warmup_steps >= 0, "LinearWarmup", "warmup_steps", options.warmup_steps,
                         "at least 0");
  return options;
}

}  // namespace

// The checked options of a cycle, and its length.
struct OneCycleLR::Cycle {
  Cycle(const Optimizer& optimizer, const OneCycleLROptions& o) : options(o) {
    const char* const name = "OneCycleLR";
    detail::require_finite(name, "max_lr", o.max_lr);
    detail::require_option(o.max_lr > 0, name, "max_lr", o.max_lr, "given and greater than 0");
    if (!o.total_steps && !(o.epochs && o.steps_per_epoch))
      throw ValueError(
          "OneCycleLR: the length of the cycle is missing; give total_steps, or epochs and steps_per_epoch");
    if (o.total_steps) {
      detail::require_option(*o.total_steps >= 1, name, "total_steps", *o.total_steps, "at least 1");
      total_steps = *o.total_steps;
    } else {
      detail::require_option(*o.epochs >= 1, name, "epochs", *o.epochs, "at least 1");
      detail::require_option(*o.steps_per_epoch >= 1, name, "steps_per_epoch", *o.steps_per_epoch,
                             "at least 1");
      if (__builtin_mul_overflow(*o.epochs, *o.steps_per_epoch, &total_steps))
        throw ValueError(message("OneCycleLR: {} of {} steps are more than can be counted",
                                 detail::counted(*o.epochs, "epoch"), *o.steps_per_epoch));
    }
    detail::require_option(o.pct_start >= 0 && o.pct_start <= 1, name, "pct_start", o.pct_start, "in [0, 1]");
    detail::require_option(o.anneal_strategy == "cos" || o.anneal_strategy == "linear", name,
                           "anneal_strategy", o.anneal_strategy, "cos or linear");
    detail::require_positive(name, "div_factor", o.div_factor);
    detail::require_positive(name, "final_div_factor", o.final_div_factor);
    detail::require_at_least_0(name, "base_momentum", o.base_momentum);
    detail::require_at_least_0(name, "max_momentum", o.max_momentum);
    if (o.cycle_momentum && !optimizer.momentum())
      throw ValueError("OneCycleLR: this optimiser has no momentum to cycle; set cycle_momentum = false");
  }

  // The value after `step` steps of a cycle that goes from `first` to `top`, `first` (three phases) and
  // `last`.
  double interpolate(std::int64_t step, double first, double top, double last) const {
    struct Phase {
      double end, from, to;
    };
    const double total = static_cast<double>(total_steps), rise = options.pct_start * total;
    const Phase up{rise - 1, first, top};
    const std::array<Phase, 3> three{up, {2 * rise - 2, top, first}, {total - 1, first, last}};
    const std::array<Phase, 3> two{up, {total - 1, top, last}, {}};
    const std::array<Phase, 3>& phases = options.three_phase ? three : two;
    const std::size_t final_phase = options.three_phase ? 2 : 1;

    const double now = static_cast<double>(step);
    std::size_t i = 0;
    double begin = 0;
    for (; i < final_phase && now > phases[i].end; ++i) begin = phases[i].end;
    const auto& [end, from, to] = phases[i];
    // A phase of length 0 ends at once; after the last step the final value is kept.
    const double part = end > begin ? std::min((now - begin) / (end - begin), 1.0) : 1.0;
    if (options.anneal_strategy == "linear") return (to - from) * part + from;
    return to + (from - to) / 2 * (std::cos(pi * part) + 1);
  }

  OneCycleLROptions options;
  std::int64_t total_steps = 0;
};

LRScheduler::LRScheduler(const char* kind, Optimizer& optimizer) : optimizer_(optimizer), kind_(kind) {
  base_lrs_ = base_lrs();
  last_lrs_ = current_lrs();
}

LRScheduler::LRScheduler(const char* kind, Optimizer& optimizer, Function rate, Function momentum)
    : LRScheduler(kind, optimizer) {
  rate_ = std::move(rate);
  momentum_ = std::move(momentum);
  if (!rate_)
    throw ValueError("LRScheduler: the schedule is an empty function; give one from the step to a rate");
  enter(0);
}

LRScheduler::Function LRScheduler::scaled(std::function<double(std::int64_t)> factor) {
  if (!factor) return {};
  return [factor = std::move(factor)](const Moment& at) { return at.base_lr * factor(at.step); };
}

std::vector<double> LRScheduler::current_lrs() const {
  std::vector<double> rates;
  for (const auto& group : optimizer_.groups_) rates.push_back(group.options.front().value);
  return rates;
}

std::vector<double> LRScheduler::base_lrs() const {
  std::vector<double> bases = base_lrs_;
  for (std::size_t g = bases.size(); g < optimizer_.groups_.size(); ++g)
    bases.push_back(optimizer_.groups_[g].initial_lr.value_or(optimizer_.groups_[g].options.front().value));
  return bases;
}

double LRScheduler::last_lr(std::int64_t group) const {
  if (group < 0 || group >= static_cast<std::int64_t>(last_lrs_.size()))
    throw IndexError(message("LRScheduler: group {} is out of range [0, {})", group, last_lrs_.size()));
  return last_lrs_[static_cast<std::size_t>(group)];
}

void LRScheduler::put(const std::vector<double>& rates) {
  for (std::size_t g = 0; g < rates.size(); ++g) optimizer_.groups_[g].options.front().value = rates[g];
  last_lrs_ = rates;
}

void LRScheduler::set(std::int64_t step, const std::vector<double>& rates, const std::vector<double>& bases) {
  for (const double rate : rates) detail::require_finite("LRScheduler", "the rate", rate);
  if (momentum_) optimizer_.set_momentum(momentum_({step, optimizer_.lr(), bases.front()}));
  put(rates);
  base_lrs_ = bases;
  for (std::size_t g = 0; g < bases.size(); ++g)
    if (auto& initial = optimizer_.groups_[g].initial_lr; !initial) initial = bases[g];
  last_epoch_ = step;
}

void LRScheduler::enter(std::int64_t step) {
  const std::vector<double> bases = base_lrs();
  std::vector<double> rates = current_lrs();
  for (std::size_t g = 0; g < rates.size(); ++g) {
    rates[g] = rate_({step, rates[g], bases[g]});
    if (rates[g] <= 0 && rates[g] >= -rounding * bases[g]) rates[g] = 0;
  }
  set(step, rates, bases);
}

void LRScheduler::step() { enter(last_epoch_ + 1); }

StateDict LRScheduler::state_dict() const {
  return {detail::label("schedule", kind_),
          {"last_epoch", number(static_cast<double>(last_epoch_))},
          {"base_lr", per_group(base_lrs_)},
          {"last_lr", per_group(last_lrs_)}};
}

void LRScheduler::check_state(const char* what, const StateDict& dict,
                              std::vector<detail::ExpectedEntry> expected) const {
  detail::check_label(what, dict, "schedule", kind_, expected);
  const auto rates = dict.find("last_lr");
  if (rates != dict.end() && rates->second.defined() && rates->second.size() != optimizer_.group_count())
    throw ValueError(message("{}: the state has {}, but the optimiser has {}", what,
                             detail::counted(rates->second.size(), "parameter group"),
                             optimizer_.group_count()));
  detail::check_state(what, dict, expected);
}

void LRScheduler::load_state_dict(const StateDict& dict) {
  const char* const what = "LRScheduler::load_state_dict";
  const Shape groups = group_shape(optimizer_);
  std::vector<detail::ExpectedEntry> expected{{"last_epoch", {}}, {"base_lr", groups}, {"last_lr", groups}};
  check_state(what, dict, std::move(expected));
  const std::vector<double> bases = dict.at("base_lr").values<double>();
  for (const double base : bases) detail::require_finite(what, "base_lr", base);
  set(count(dict, what, "last_epoch"), dict.at("last_lr").values<double>(), bases);
}

StepLR::StepLR(Optimizer& optimizer, StepLROptions options)
    : LRScheduler("StepLR", optimizer, [o = checked(options)](const Moment& at) {
        return at.step == 0 || at.step % o.step_size != 0 ? at.lr : at.lr * o.gamma;
      }) {}

MultiStepLR::MultiStepLR(Optimizer& optimizer, MultiStepLROptions options)
    : LRScheduler("MultiStepLR", optimizer, [o = checked(std::move(options))](const Moment& at) {
        if (at.step == 0) return at.lr;
        const auto times = std::count(o.milestones.begin(), o.milestones.end(), at.step);
        return at.lr * std::pow(o.gamma, static_cast<double>(times));
      }) {}

ExponentialLR::ExponentialLR(Optimizer& optimizer, ExponentialLROptions options)
    : LRScheduler("ExponentialLR", optimizer, [o = checked(options)](const Moment& at) {
        return at.step == 0 ? at.lr : at.lr * o.gamma;
      }) {}

LinearLR::LinearLR(Optimizer& optimizer, LinearLROptions options)
    : LRScheduler("LinearLR", optimizer, [o = checked(options)](const Moment& at) {
        const double change = o.end_factor - o.start_factor;
        if (at.step == 0) return at.lr * o.start_factor;
        if (at.step > o.total_iters) return at.lr;
        const double iterations = static_cast<double>(o.total_iters);
        const double ratio =
            1 + change / (iterations * o.start_factor + static_cast<double>(at.step - 1) * change);
        // The final factor may be 0: rounding must not leave the rate slightly above or below it.
        return at.step == o.total_iters && o.end_factor == 0 ? 0 : at.lr * std::max(ratio, 0.0);
      }) {}

CosineAnnealingLR::CosineAnnealingLR(Optimizer& optimizer, CosineAnnealingLROptions options)
    : LRScheduler("CosineAnnealingLR", optimizer, [o = checked(options)](const Moment& at) {
        const double half = static_cast<double>(o.T_max);
        if (at.step == 0) return at.lr;
        const std::int64_t before = at.step - 1;
        // At its lowest point the rate would be 0/0 by the quotient below.
        if (before % o.T_max == 0 && before / o.T_max % 2 == 1)
          return at.lr + (at.base_lr - o.eta_min) * (1 - std::cos(pi / half)) / 2;
        return (1 + std::cos(pi * static_cast<double>(at.step) / half)) /
                   (1 + std::cos(pi * static_cast<double>(before) / half)) * (at.lr - o.eta_min) +
               o.eta_min;
      }) {}

CosineAnnealingWarmRestarts::CosineAnnealingWarmRestarts(Optimizer& optimizer,
                                                         CosineAnnealingWarmRestartsOptions options)
    : LRScheduler("CosineAnnealingWarmRestarts", optimizer, [o = checked(options)](const Moment& at) {
        std::int64_t epoch = at.step, period = o.T_0;
        if (o.T_mult == 1) epoch %= period;
        while (epoch >= period) {
          epoch -= period;
          if (__builtin_mul_overflow(period, o.T_mult, &period))
            period = std::numeric_limits<std::int64_t>::max();
        }
        const double part = static_cast<double>(epoch) / static_cast<double>(period);
        return o.eta_min + (at.base_lr - o.eta_min) * (1 + std::cos(pi * part)) / 2;
      }) {}

LRScheduler warmup_cosine(Optimizer& optimizer, WarmupCosineOptions options) {
  const auto factor = [o = checked(options)](std::int64_t step) {
    const double warmup = static_cast<double>(o.warmup_steps), total = static_cast<double>(o.total_steps);
    if (step < o.warmup_steps) return static_cast<double>(step + 1) / warmup;
    if (step >= o.total_steps) return o.min_factor;
    const double part = (static_cast<double>(step) - warmup) / (total - warmup);
    return o.min_factor + (1 - o.min_factor) * (1 + std::cos(pi * part)) / 2;
  };
  return LRScheduler("warmup_cosine", optimizer,
                     [factor](const LRScheduler::Moment& at) { return at.base_lr * factor(at.step); });
}

OneCycleLR::OneCycleLR(Optimizer& optimizer, OneCycleLROptions options)
    : OneCycleLR(optimizer, Cycle(optimizer, options)) {}

OneCycleLR::OneCycleLR(Optimizer& optimizer, const Cycle& cycle)
    : LRScheduler(
          "OneCycleLR", optimizer,
          [cycle](const Moment& at) {
            if (at.step > cycle.total_steps)
              throw ValueError(
                  message("OneCycleLR: step {} of a cycle of {}; give it as many total_steps as the "
                          "training takes",
                          at.step, cycle.total_steps));
            const double top = cycle.options.max_lr, first = top / cycle.options.div_factor;
            return cycle.interpolate(at.step, first, top, first / cycle.options.final_div_factor);
          },
          cycle.options.cycle_momentum ? Function([cycle](const Moment& at) {
            const double top = cycle.options.max_momentum;
            return cycle.interpolate(at.step, top, cycle.options.base_momentum, top);
          })
                                       : Function()) {}

LambdaLR::LambdaLR(Optimizer& optimizer, LambdaLROptions options)
    : LRScheduler("LambdaLR", optimizer, [factor = checked(std::move(options)).lr_lambda](const Moment& at) {
        const double rate = at.base_lr * factor(at.step);
        detail::require_option(rate >= -rounding * at.base_lr, "LambdaLR", "the rate", rate, "at least 0");
        return rate;
      }) {}

LinearWarmup::LinearWarmup(Optimizer& optimizer, LinearWarmupOptions options)
    : LRScheduler("LinearWarmup", optimizer, [o = checked(options)](const Moment& at) {
        return at.base_lr *
               std::min(1.0, static_cast<double>(at.step + 1) / static_cast<double>(o.warmup_steps));
      }) {}

struct SequentialLR::Parts {
  Parts(const Optimizer& optimizer, const std::vector<LRScheduler*>& schedules,
        std::vector<std::int64_t> ends)
      : milestones(std::move(ends)) {
    if (schedules.empty() || milestones.size() + 1 != schedules.size())
      throw ValueError(
          message("SequentialLR: {} schedules and {} milestones are given; between two schedules "
                  "there is one milestone",
                  schedules.size(), milestones.size()));
    std::int64_t before = 0;
    for (const std::int64_t milestone : milestones)
      detail::require_option(milestone > std::exchange(before, milestone), "SequentialLR", "a milestone",
                             milestone, "positive and greater than the one before it");
    for (const LRScheduler* schedule : schedules) {
      if (!schedule) throw ValueError("SequentialLR: a schedule is null");
      if (&schedule->optimizer_ != &optimizer)
        throw ValueError("SequentialLR: a schedule belongs to another optimiser; all must share one");
      if (dynamic_cast<const ReduceLROnPlateau*>(schedule))
        throw ValueError("SequentialLR: ReduceLROnPlateau follows a metric and cannot be part of a sequence");
      rates.push_back(schedule->rate_);
      momenta.push_back(schedule->momentum_);
      any_momentum = any_momentum || schedule->momentum_;
    }
  }

  // Calls f(position of the schedule, the moment relative to that schedule).
  template <class F>
  double at(const Moment& now, F f) const {
    const auto next = std::upper_bound(milestones.begin(), milestones.end(), now.step);
    const std::int64_t step = next == milestones.begin() ? now.step : now.step - *(next - 1);
    return f(static_cast<std::size_t>(next - milestones.begin()),
             Moment{step, step == 0 ? now.base_lr : now.lr, now.base_lr});
  }

  std::vector<Function> rates, momenta;
  std::vector<std::int64_t> milestones;
  bool any_momentum = false;
};

SequentialLR::SequentialLR(Optimizer& optimizer, const std::vector<LRScheduler*>& schedules,
                           std::vector<std::int64_t> milestones)
    : SequentialLR(optimizer, Parts(optimizer, schedules, std::move(milestones))) {}

SequentialLR::SequentialLR(Optimizer& optimizer, const Parts& parts)
    : LRScheduler(
          "SequentialLR", optimizer,
          [parts](const Moment& now) {
            return parts.at(now, [&](std::size_t i, const Moment& at) { return parts.rates[i](at); });
          },
          parts.any_momentum ? Function([parts, &optimizer](const Moment& now) {
            return parts.at(now, [&](std::size_t i, const Moment& at) {
              return parts.momenta[i] ? parts.momenta[i](at) : optimizer.momentum().value_or(0);
            });
          })
                             : Function()) {}

ReduceLROnPlateau::ReduceLROnPlateau(Optimizer& optimizer, ReduceLROnPlateauOptions options)
    : LRScheduler("ReduceLROnPlateau", optimizer), options_(std::move(options)) {
  rate_ = [](const Moment&) -> double {
    throw ValueError("ReduceLROnPlateau: step() needs the metric; call step(metric) of the scheduler itself");
  };
  const ReduceLROnPlateauOptions& o = options_;
  const char* const name = "ReduceLROnPlateau";
  detail::require_option(o.mode == "min" || o.mode == "max", name, "mode", o.mode, "min or max");
  detail::require_option(o.factor >= 0 && o.factor < 1, name, "factor", o.factor, "in [0, 1)");
  detail::require_option(o.patience >= 0, name, "patience", o.patience, "at least 0");
  detail::require_option(o.threshold_mode == "rel" || o.threshold_mode == "abs", name, "threshold_mode",
                         o.threshold_mode, "rel or abs");
  detail::require_option(o.cooldown >= 0, name, "cooldown", o.cooldown, "at least 0");
  detail::require_at_least_0(name, "min_lr", o.min_lr);
  detail::require_at_least_0(name, "eps", o.eps);
  detail::require_finite(name, "threshold", o.threshold);
  constexpr double infinity = std::numeric_limits<double>::infinity();
  best_ = o.mode == "min" ? infinity : -infinity;
}

bool ReduceLROnPlateau::improves(double metric) const {
  const double sign = options_.mode == "min" ? -1 : 1;
  const double needed = options_.threshold_mode == "rel" ? best_ * (1 + sign * options_.threshold)
                                                         : best_ + sign * options_.threshold;
  return options_.mode == "min" ? metric < needed : metric > needed;
}

void ReduceLROnPlateau::step(double metric) {
  if (improves(metric)) {
    best_ = metric;
    bad_epochs_ = 0;
  } else {
    ++bad_epochs_;
  }
  if (cooldown_left_ > 0) {
    --cooldown_left_;
    bad_epochs_ = 0;
  }
  if (bad_epochs_ > options_.patience) {
    for (std::int64_t g = 0; g < optimizer_.group_count(); ++g) {
      const double lr = std::max(optimizer_.lr(g) * options_.factor, options_.min_lr);
      if (optimizer_.lr(g) - lr > options_.eps) optimizer_.set_lr(lr, g);
    }
    cooldown_left_ = options_.cooldown;
    bad_epochs_ = 0;
  }
  last_lrs_ = current_lrs();
  ++last_epoch_;
}

StateDict ReduceLROnPlateau::state_dict() const {
  return {detail::label("schedule", kind_),
          detail::label("mode", options_.mode),
          {"best", number(best_)},
          {"num_bad_epochs", number(static_cast<double>(bad_epochs_))},
          {"cooldown_counter", number(static_cast<double>(cooldown_left_))},
          {"last_lr", per_group(last_lrs_)},
          {"last_epoch", number(static_cast<double>(last_epoch_))}};
}

void ReduceLROnPlateau::load_state_dict(const StateDict& dict) {
  const char* const what = "ReduceLROnPlateau::load_state_dict";
  std::vector<detail::ExpectedEntry> expected{
      {"best", {}}, {"num_bad_epochs", {}}, {"cooldown_counter", {}}, {"last_lr", group_shape(optimizer_)}};
  if (dict.contains("last_epoch")) expected.push_back({"last_epoch", {}});  // not written by version 1.0
  detail::check_label(what, dict, "mode", options_.mode, expected);
  check_state(what, dict, std::move(expected));
  const std::int64_t bad_epochs = count(dict, what, "num_bad_epochs");
  const std::int64_t cooldown_left = count(dict, what, "cooldown_counter");
  const std::int64_t epoch = dict.contains("last_epoch") ? count(dict, what, "last_epoch") : last_epoch_;
  const std::vector<double> rates = dict.at("last_lr").values<double>();
  for (const double rate : rates) detail::require_finite(what, "last_lr", rate);
  put(rates);
  best_ = dict.at("best").item<double>();
  bad_epochs_ = bad_epochs;
  cooldown_left_ = cooldown_left;
  last_epoch_ = epoch;
}

}  // namespace retort
