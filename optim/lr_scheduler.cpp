#include "retort/optim/lr_scheduler.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <numbers>
#include <utility>

namespace retort {
namespace {

constexpr double pi = std::numbers::pi;

template <class T>
void require(bool fits, const char* scheduler, const char* option, const T& value, const char* range) {
  if (!fits) throw ValueError(message("{}: {} is {}; it must be {}", scheduler, option, value, range));
}

StateDict numbers(std::initializer_list<std::pair<const char*, double>> entries) {
  StateDict dict;
  for (const auto& [name, value] : entries) dict[name] = full({}, value, DType::float64);
  return dict;
}

void check_numbers(const char* what, const StateDict& dict, std::initializer_list<const char*> names) {
  std::vector<detail::ExpectedEntry> expected;
  for (const char* name : names) expected.push_back({name, {}});
  detail::check_state(what, dict, expected);
}

std::int64_t count(const StateDict& dict, const char* scheduler, const char* name) {
  const auto value = dict.at(name).item<double>();
  require(value >= 0 && value < 0x1p53, scheduler, name, value, "a count");
  return static_cast<std::int64_t>(value);
}

StepLROptions checked(StepLROptions options) {
  require(options.step_size >= 1, "StepLR", "step_size", options.step_size, "at least 1");
  return options;
}

LinearLROptions checked(LinearLROptions options) {
  const auto& [start_factor, end_factor, total_iters] = options;
  require(start_factor > 0 && start_factor <= 1, "LinearLR", "start_factor", start_factor, "in (0, 1]");
  require(end_factor >= 0 && end_factor <= 1, "LinearLR", "end_factor", end_factor, "in [0, 1]");
  require(total_iters >= 1, "LinearLR", "total_iters", total_iters, "at least 1");
  return options;
}

CosineAnnealingLROptions checked(CosineAnnealingLROptions options) {
  require(options.T_max >= 1, "CosineAnnealingLR", "T_max", options.T_max, "at least 1");
  require(options.eta_min >= 0, "CosineAnnealingLR", "eta_min", options.eta_min, "at least 0");
  return options;
}

LambdaLROptions checked(LambdaLROptions options) {
  if (!options.lr_lambda)
    throw ValueError("LambdaLR: lr_lambda is empty; give a function from the epoch to a factor");
  return options;
}

LinearWarmupOptions checked(LinearWarmupOptions options) {
  require(options.warmup_steps >= 0, "LinearWarmup", "warmup_steps", options.warmup_steps, "at least 0");
  return options;
}

}  // namespace

// The options of a cycle, checked, and its length.
struct OneCycleLR::Cycle {
  Cycle(const Optimizer& optimizer, const OneCycleLROptions& o) : options(o) {
    const char* const name = "OneCycleLR";
    require(o.max_lr > 0, name, "max_lr", o.max_lr, "given and greater than 0");
    if (!o.total_steps && !(o.epochs && o.steps_per_epoch))
      throw ValueError(
          "OneCycleLR: the length of the cycle is missing; give total_steps, or epochs and steps_per_epoch");
    if (o.total_steps) {
      require(*o.total_steps >= 1, name, "total_steps", *o.total_steps, "at least 1");
      total_steps = *o.total_steps;
    } else {
      require(*o.epochs >= 1, name, "epochs", *o.epochs, "at least 1");
      require(*o.steps_per_epoch >= 1, name, "steps_per_epoch", *o.steps_per_epoch, "at least 1");
      total_steps = *o.epochs * *o.steps_per_epoch;
    }
    require(o.pct_start >= 0 && o.pct_start <= 1, name, "pct_start", o.pct_start, "in [0, 1]");
    require(o.anneal_strategy == "cos" || o.anneal_strategy == "linear", name, "anneal_strategy",
            o.anneal_strategy, "cos or linear");
    require(o.div_factor > 0, name, "div_factor", o.div_factor, "greater than 0");
    require(o.final_div_factor > 0, name, "final_div_factor", o.final_div_factor, "greater than 0");
    if (o.cycle_momentum && !optimizer.momentum())
      throw ValueError("OneCycleLR: this optimiser has no momentum to cycle; set cycle_momentum = false");
  }

  // The value `step` steps into a cycle through first, top, first (three phases) and last.
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
    // A phase without length ends at once; the step after the last keeps the cycle's last value.
    const double part = end > begin ? std::min((now - begin) / (end - begin), 1.0) : 1.0;
    if (options.anneal_strategy == "linear") return (to - from) * part + from;
    return to + (from - to) / 2 * (std::cos(pi * part) + 1);
  }

  OneCycleLROptions options;
  std::int64_t total_steps = 0;
};

LRScheduler::LRScheduler(Optimizer& optimizer, Function rate, Function momentum)
    : optimizer_(optimizer),
      rate_(std::move(rate)),
      momentum_(std::move(momentum)),
      base_lr_(optimizer.initial_lr_.value_or(optimizer.lr())),
      last_lr_(optimizer.lr()) {
  if (!rate_)
    throw ValueError("LRScheduler: the schedule is an empty function; give one from the step to a rate");
  enter(0);
  optimizer_.initial_lr_ = base_lr_;
}

void LRScheduler::set(double lr, const Moment& at) {
  require(!std::isnan(lr), "LRScheduler", "the rate", lr, "a number");
  if (momentum_) optimizer_.set_momentum(momentum_(at));
  optimizer_.options_.front().value = last_lr_ = lr;
  last_epoch_ = at.step;
}

void LRScheduler::enter(std::int64_t step) {
  const Moment at{step, optimizer_.lr(), base_lr_};
  set(rate_(at), at);
}

void LRScheduler::step() { enter(last_epoch_ + 1); }

StateDict LRScheduler::state_dict() const {
  return numbers(
      {{"last_epoch", static_cast<double>(last_epoch_)}, {"base_lr", base_lr_}, {"last_lr", last_lr_}});
}

void LRScheduler::load_state_dict(const StateDict& dict) {
  check_numbers("LRScheduler::load_state_dict", dict, {"last_epoch", "base_lr", "last_lr"});
  const auto base = dict.at("base_lr").item<double>(), lr = dict.at("last_lr").item<double>();
  require(lr >= 0, "LRScheduler::load_state_dict", "last_lr", lr, "at least 0");
  set(lr, {count(dict, "LRScheduler::load_state_dict", "last_epoch"), lr, base});
  base_lr_ = base;
}

StepLR::StepLR(Optimizer& optimizer, StepLROptions options)
    : LRScheduler(optimizer, [o = checked(options)](const Moment& at) {
        return at.step == 0 || at.step % o.step_size != 0 ? at.lr : at.lr * o.gamma;
      }) {}

LinearLR::LinearLR(Optimizer& optimizer, LinearLROptions options)
    : LRScheduler(optimizer, [o = checked(options)](const Moment& at) {
        const double change = o.end_factor - o.start_factor;
        if (at.step == 0) return at.lr * o.start_factor;
        if (at.step > o.total_iters) return at.lr;
        const double iterations = static_cast<double>(o.total_iters);
        const double ratio =
            1 + change / (iterations * o.start_factor + static_cast<double>(at.step - 1) * change);
        // The factor may be 0 at the end: rounding must not leave the rate just above or below it.
        return at.step == o.total_iters && o.end_factor == 0 ? 0 : at.lr * std::max(ratio, 0.0);
      }) {}

CosineAnnealingLR::CosineAnnealingLR(Optimizer& optimizer, CosineAnnealingLROptions options)
    : LRScheduler(optimizer, [o = checked(options)](const Moment& at) {
        const double half = static_cast<double>(o.T_max);
        if (at.step == 0) return at.lr;
        // The quotient below would be 0/0 where the rate leaves its lowest point.
        if ((at.step - 1 - o.T_max) % (2 * o.T_max) == 0)
          return at.lr + (at.base_lr - o.eta_min) * (1 - std::cos(pi / half)) / 2;
        return (1 + std::cos(pi * static_cast<double>(at.step) / half)) /
                   (1 + std::cos(pi * static_cast<double>(at.step - 1) / half)) * (at.lr - o.eta_min) +
               o.eta_min;
      }) {}

OneCycleLR::OneCycleLR(Optimizer& optimizer, OneCycleLROptions options)
    : OneCycleLR(optimizer, Cycle(optimizer, options)) {}

OneCycleLR::OneCycleLR(Optimizer& optimizer, const Cycle& cycle)
    : LRScheduler(
          optimizer,
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
    : LRScheduler(optimizer, [factor = checked(std::move(options)).lr_lambda](const Moment& at) {
        const double rate = at.base_lr * factor(at.step);
        require(rate >= 0, "LambdaLR", "the rate", rate, "at least 0");
        return rate;
      }) {}

LinearWarmup::LinearWarmup(Optimizer& optimizer, LinearWarmupOptions options)
    : LRScheduler(optimizer, [o = checked(options)](const Moment& at) {
        return at.base_lr *
               std::min(1.0, static_cast<double>(at.step + 1) / static_cast<double>(o.warmup_steps));
      }) {}

ReduceLROnPlateau::ReduceLROnPlateau(Optimizer& optimizer, ReduceLROnPlateauOptions options)
    : optimizer_(optimizer), options_(std::move(options)), last_lr_(optimizer.lr()) {
  const ReduceLROnPlateauOptions& o = options_;
  const char* const name = "ReduceLROnPlateau";
  require(o.mode == "min" || o.mode == "max", name, "mode", o.mode, "min or max");
  require(o.factor >= 0 && o.factor < 1, name, "factor", o.factor, "in [0, 1)");
  require(o.patience >= 0, name, "patience", o.patience, "at least 0");
  require(o.threshold_mode == "rel" || o.threshold_mode == "abs", name, "threshold_mode", o.threshold_mode,
          "rel or abs");
  require(o.cooldown >= 0, name, "cooldown", o.cooldown, "at least 0");
  require(o.min_lr >= 0, name, "min_lr", o.min_lr, "at least 0");
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
    const double lr = std::max(optimizer_.lr() * options_.factor, options_.min_lr);
    if (optimizer_.lr() - lr > options_.eps) optimizer_.set_lr(lr);
    cooldown_left_ = options_.cooldown;
    bad_epochs_ = 0;
  }
  last_lr_ = optimizer_.lr();
}

StateDict ReduceLROnPlateau::state_dict() const {
  return numbers({{"best", best_},
                  {"num_bad_epochs", static_cast<double>(bad_epochs_)},
                  {"cooldown_counter", static_cast<double>(cooldown_left_)},
                  {"last_lr", last_lr_}});
}

void ReduceLROnPlateau::load_state_dict(const StateDict& dict) {
  const char* const what = "ReduceLROnPlateau::load_state_dict";
  check_numbers(what, dict, {"best", "num_bad_epochs", "cooldown_counter", "last_lr"});
  const std::int64_t bad_epochs = count(dict, what, "num_bad_epochs");
  const std::int64_t cooldown_left = count(dict, what, "cooldown_counter");
  const auto lr = dict.at("last_lr").item<double>();
  optimizer_.set_lr(lr);
  best_ = dict.at("best").item<double>();
  bad_epochs_ = bad_epochs;
  cooldown_left_ = cooldown_left;
  last_lr_ = lr;
}

}  // namespace retort
