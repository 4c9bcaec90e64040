#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/optim/schedule_options_impl.hpp"

namespace retort {
namespace {

using detail::listed;

constexpr double pi = std::numbers::pi;

StepLROptions checked(StepLROptions options) {
  detail::require_option(options.step_size >= 1, "StepLR", "step_size", options.step_size,
                         "given and at least 1");
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
  detail::require_option(options.T_max >= 1, "CosineAnnealingLR", "T_max", options.T_max,
                         "given and at least 1");
  detail::require_at_least_0("CosineAnnealingLR", "eta_min", options.eta_min);
  return options;
}

CosineAnnealingWarmRestartsOptions checked(CosineAnnealingWarmRestartsOptions options) {
  const char* const name = "CosineAnnealingWarmRestarts";
  detail::require_option(options.T_0 >= 1, name, "T_0", options.T_0, "given and at least 1");
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

std::string listed(const char* name, const std::vector<std::int64_t>& values) {
  std::string text = message("{} =", name);
  for (const std::int64_t value : values) text += message(" {}", value);
  return text;
}

std::string text_of(const StepLROptions& o) {
  return listed({{"step_size", o.step_size}, {"gamma", o.gamma}});
}
std::string text_of(const MultiStepLROptions& o) {
  return listed("milestones", o.milestones) + ", " + listed({{"gamma", o.gamma}});
}
std::string text_of(const ExponentialLROptions& o) { return listed({{"gamma", o.gamma}}); }
std::string text_of(const LinearLROptions& o) {
  return listed(
      {{"start_factor", o.start_factor}, {"end_factor", o.end_factor}, {"total_iters", o.total_iters}});
}
std::string text_of(const CosineAnnealingLROptions& o) {
  return listed({{"T_max", o.T_max}, {"eta_min", o.eta_min}});
}
std::string text_of(const CosineAnnealingWarmRestartsOptions& o) {
  return listed({{"T_0", o.T_0}, {"T_mult", o.T_mult}, {"eta_min", o.eta_min}});
}
std::string text_of(const WarmupCosineOptions& o) {
  return listed(
      {{"warmup_steps", o.warmup_steps}, {"total_steps", o.total_steps}, {"min_factor", o.min_factor}});
}
std::string text_of(const LinearWarmupOptions& o) { return listed({{"warmup_steps", o.warmup_steps}}); }

/// The schedule f(options, moment).
template <class Options, class F>
LRScheduler::Function with(Options options, F f) {
  std::string text = text_of(options);
  return detail::Described{[o = std::move(options), f](const LRScheduler::Moment& at) { return f(o, at); },
                           std::move(text)};
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

  friend std::string text_of(const Cycle& cycle) {
    const OneCycleLROptions& o = cycle.options;
    return listed({{"max_lr", o.max_lr},
                   {"total_steps", cycle.total_steps},
                   {"pct_start", o.pct_start},
                   {"cycle_momentum", o.cycle_momentum},
                   {"base_momentum", o.base_momentum},
                   {"max_momentum", o.max_momentum},
                   {"div_factor", o.div_factor},
                   {"final_div_factor", o.final_div_factor},
                   {"three_phase", o.three_phase}}) +
           ", anneal_strategy = " + o.anneal_strategy;
  }

  OneCycleLROptions options;
  std::int64_t total_steps = 0;
};

StepLR::StepLR(Optimizer& optimizer, StepLROptions options)
    : LRScheduler("StepLR", optimizer, with(checked(options), [](const StepLROptions& o, const Moment& at) {
                    return at.step == 0 || at.step % o.step_size != 0 ? at.lr : at.lr * o.gamma;
                  })) {}

MultiStepLR::MultiStepLR(Optimizer& optimizer, MultiStepLROptions options)
    : LRScheduler("MultiStepLR", optimizer,
                  with(checked(std::move(options)), [](const MultiStepLROptions& o, const Moment& at) {
                    if (at.step == 0) return at.lr;
                    const auto times = std::count(o.milestones.begin(), o.milestones.end(), at.step);
                    return at.lr * std::pow(o.gamma, static_cast<double>(times));
                  })) {}

ExponentialLR::ExponentialLR(Optimizer& optimizer, ExponentialLROptions options)
    : LRScheduler("ExponentialLR", optimizer,
                  with(checked(options), [](const ExponentialLROptions& o, const Moment& at) {
                    return at.step == 0 ? at.lr : at.lr * o.gamma;
                  })) {}

LinearLR::LinearLR(Optimizer& optimizer, LinearLROptions options)
    : LRScheduler(
          "LinearLR", optimizer, with(checked(options), [](const LinearLROptions& o, const Moment& at) {
            const double change = o.end_factor - o.start_factor;
            if (at.step == 0) return at.lr * o.start_factor;
            if (at.step > o.total_iters) return at.lr;
            const double iterations = static_cast<double>(o.total_iters);
            const double ratio =
                1 + change / (iterations * o.start_factor + static_cast<double>(at.step - 1) * change);
            // The final factor may be 0: rounding must not leave the rate slightly above or below it.
            return at.step == o.total_iters && o.end_factor == 0 ? 0 : at.lr * std::max(ratio, 0.0);
          })) {}

CosineAnnealingLR::CosineAnnealingLR(Optimizer& optimizer, CosineAnnealingLROptions options)
    : LRScheduler("CosineAnnealingLR", optimizer,
                  with(checked(options), [](const CosineAnnealingLROptions& o, const Moment& at) {
                    const double half = static_cast<double>(o.T_max);
                    if (at.step == 0) return at.lr;
                    const std::int64_t before = at.step - 1;
                    // At its lowest point the rate would be 0/0 by the quotient below.
                    if (before % o.T_max == 0 && before / o.T_max % 2 == 1)
                      return at.lr + (at.base_lr - o.eta_min) * (1 - std::cos(pi / half)) / 2;
                    return (1 + std::cos(pi * static_cast<double>(at.step) / half)) /
                               (1 + std::cos(pi * static_cast<double>(before) / half)) * (at.lr - o.eta_min) +
                           o.eta_min;
                  })) {}

CosineAnnealingWarmRestarts::CosineAnnealingWarmRestarts(Optimizer& optimizer,
                                                         CosineAnnealingWarmRestartsOptions options)
    : LRScheduler("CosineAnnealingWarmRestarts", optimizer,
                  with(checked(options), [](const CosineAnnealingWarmRestartsOptions& o, const Moment& at) {
                    std::int64_t epoch = at.step, period = o.T_0;
                    if (o.T_mult == 1) epoch %= period;
                    while (epoch >= period) {
                      epoch -= period;
                      if (__builtin_mul_overflow(period, o.T_mult, &period))
                        period = std::numeric_limits<std::int64_t>::max();
                    }
                    const double part = static_cast<double>(epoch) / static_cast<double>(period);
                    return o.eta_min + (at.base_lr - o.eta_min) * (1 + std::cos(pi * part)) / 2;
                  })) {}

LRScheduler warmup_cosine(Optimizer& optimizer, WarmupCosineOptions options) {
  return LRScheduler(
      "warmup_cosine", optimizer,
      with(checked(options), [](const WarmupCosineOptions& o, const LRScheduler::Moment& at) {
        const double warmup = static_cast<double>(o.warmup_steps), total = static_cast<double>(o.total_steps);
        if (at.step < o.warmup_steps) return at.base_lr * (static_cast<double>(at.step + 1) / warmup);
        if (at.step >= o.total_steps) return at.base_lr * o.min_factor;
        const double part = (static_cast<double>(at.step) - warmup) / (total - warmup);
        return at.base_lr * (o.min_factor + (1 - o.min_factor) * (1 + std::cos(pi * part)) / 2);
      }));
}

OneCycleLR::OneCycleLR(Optimizer& optimizer, OneCycleLROptions options)
    : OneCycleLR(Cycle(optimizer, options), optimizer) {}

OneCycleLR::OneCycleLR(const Cycle& cycle, Optimizer& optimizer)
    : LRScheduler("OneCycleLR", optimizer,
                  with(cycle,
                       [](const Cycle& c, const Moment& at) {
                         if (at.step > c.total_steps)
                           throw ValueError(message(
                               "OneCycleLR: step {} of a cycle of {}; give it as many total_steps as the "
                               "training takes",
                               at.step, c.total_steps));
                         const double top = c.options.max_lr, first = top / c.options.div_factor;
                         return c.interpolate(at.step, first, top, first / c.options.final_div_factor);
                       }),
                  cycle.options.cycle_momentum ? Function([cycle](const Moment& at) {
                    const double top = cycle.options.max_momentum;
                    return cycle.interpolate(at.step, top, cycle.options.base_momentum, top);
                  })
                                               : Function()) {}

LambdaLR::LambdaLR(Optimizer& optimizer, LambdaLROptions options)
    : LRScheduler("LambdaLR", optimizer, [factor = checked(std::move(options)).lr_lambda](const Moment& at) {
        const double rate = at.base_lr * factor(at.step);
        detail::require_option(rate >= -detail::rounding * at.base_lr, "LambdaLR", "the rate", rate,
                               "at least 0");
        return rate;
      }) {}

LinearWarmup::LinearWarmup(Optimizer& optimizer, LinearWarmupOptions options)
    : LRScheduler("LinearWarmup", optimizer,
                  with(checked(options), [](const LinearWarmupOptions& o, const Moment& at) {
                    return at.base_lr * std::min(1.0, static_cast<double>(at.step + 1) /
                                                          static_cast<double>(o.warmup_steps));
                  })) {}

struct SequentialLR::Parts {
  Parts(const Optimizer& optimizer, const std::vector<LRScheduler*>& schedules,
        std::vector<std::int64_t> ends)
      : milestones(std::move(ends)) {
    if (schedules.empty())
      throw ValueError("SequentialLR: the list of schedules is empty; give at least one");
    if (milestones.size() + 1 != schedules.size())
      throw ValueError(
          message("SequentialLR: {} schedules and {} milestones are given; between two schedules "
                  "there is one milestone",
                  schedules.size(), milestones.size()));
    text = listed("milestones", milestones);
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
      text += message(", {} ({})", schedule->kind_, detail::options_of(schedule->rate_));
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
  std::string text;
  bool any_momentum = false;
  friend std::string text_of(const Parts& parts) { return parts.text; }
};

SequentialLR::SequentialLR(Optimizer& optimizer, const std::vector<LRScheduler*>& schedules,
                           std::vector<std::int64_t> milestones)
    : SequentialLR(Parts(optimizer, schedules, std::move(milestones)), optimizer) {
  for (LRScheduler* schedule : schedules) schedule->is_in_sequence_ = true;
}

SequentialLR::SequentialLR(const Parts& parts, Optimizer& optimizer)
    : LRScheduler("SequentialLR", optimizer,
                  with(parts,
                       [](const Parts& p, const Moment& now) {
                         return p.at(now, [&](std::size_t i, const Moment& at) { return p.rates[i](at); });
                       }),
                  parts.any_momentum ? Function([parts, &optimizer](const Moment& now) {
                    return parts.at(now, [&](std::size_t i, const Moment& at) {
                      return parts.momenta[i] ? parts.momenta[i](at) : optimizer.momentum().value_or(0);
                    });
                  })
                                     : Function()) {}

}  // namespace retort
