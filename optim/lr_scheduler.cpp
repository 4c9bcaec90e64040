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

}  // namespace

LRScheduler::LRScheduler(Optimizer& optimizer)
    : optimizer_(optimizer),
      base_lr_(optimizer.initial_lr_.value_or(optimizer.lr())),
      last_lr_(optimizer.lr()) {}

void LRScheduler::start() {
  enter(0);
  optimizer_.initial_lr_ = base_lr_;
}

void LRScheduler::set(double lr, std::int64_t epoch) {
  const std::optional<double> before = optimizer_.momentum();
  if (const std::optional<double> next = momentum(epoch)) optimizer_.set_momentum(*next);
  try {
    optimizer_.set_lr(lr);
  } catch (...) {
    if (before) optimizer_.set_momentum(*before);
    throw;
  }
  last_lr_ = lr;
  last_epoch_ = epoch;
}

void LRScheduler::enter(std::int64_t epoch) { set(rate(epoch), epoch); }

void LRScheduler::step() { enter(last_epoch_ + 1); }

StateDict LRScheduler::state_dict() const {
  return numbers(
      {{"last_epoch", static_cast<double>(last_epoch_)}, {"base_lr", base_lr_}, {"last_lr", last_lr_}});
}

void LRScheduler::load_state_dict(const StateDict& dict) {
  check_numbers("LRScheduler::load_state_dict", dict, {"last_epoch", "base_lr", "last_lr"});
  const auto base = dict.at("base_lr").item<double>();
  set(dict.at("last_lr").item<double>(), count(dict, "LRScheduler::load_state_dict", "last_epoch"));
  base_lr_ = base;
}

StepLR::StepLR(Optimizer& optimizer, StepLROptions options) : LRScheduler(optimizer), options_(options) {
  require(options_.step_size >= 1, "StepLR", "step_size", options_.step_size, "at least 1");
  start();
}

double StepLR::rate(std::int64_t epoch) const {
  return epoch == 0 || epoch % options_.step_size != 0 ? lr() : lr() * options_.gamma;
}

LinearLR::LinearLR(Optimizer& optimizer, LinearLROptions options)
    : LRScheduler(optimizer), options_(options) {
  const auto& [start_factor, end_factor, total_iters] = options_;
  require(start_factor > 0 && start_factor <= 1, "LinearLR", "start_factor", start_factor, "in (0, 1]");
  require(end_factor >= 0 && end_factor <= 1, "LinearLR", "end_factor", end_factor, "in [0, 1]");
  require(total_iters >= 1, "LinearLR", "total_iters", total_iters, "at least 1");
  start();
}

double LinearLR::rate(std::int64_t epoch) const {
  const double first = options_.start_factor, change = options_.end_factor - first;
  if (epoch == 0) return lr() * first;
  if (epoch > options_.total_iters) return lr();
  const double iterations = static_cast<double>(options_.total_iters);
  return lr() * (1 + change / (iterations * first + static_cast<double>(epoch - 1) * change));
}

CosineAnnealingLR::CosineAnnealingLR(Optimizer& optimizer, CosineAnnealingLROptions options)
    : LRScheduler(optimizer), options_(options) {
  require(options_.T_max >= 1, "CosineAnnealingLR", "T_max", options_.T_max, "at least 1");
  require(options_.eta_min >= 0, "CosineAnnealingLR", "eta_min", options_.eta_min, "at least 0");
  start();
}

double CosineAnnealingLR::rate(std::int64_t epoch) const {
  const auto& [period, lowest] = options_;
  const double half = static_cast<double>(period);
  if (epoch == 0) return lr();
  // The quotient below would be 0/0 where the rate leaves its lowest point.
  if ((epoch - 1 - period) % (2 * period) == 0)
    return lr() + (base_lr() - lowest) * (1 - std::cos(pi / half)) / 2;
  return (1 + std::cos(pi * static_cast<double>(epoch) / half)) /
             (1 + std::cos(pi * static_cast<double>(epoch - 1) / half)) * (lr() - lowest) +
         lowest;
}

OneCycleLR::OneCycleLR(Optimizer& optimizer, OneCycleLROptions options)
    : LRScheduler(optimizer), options_(std::move(options)) {
  const OneCycleLROptions& o = options_;
  const char* const name = "OneCycleLR";
  require(o.max_lr > 0, name, "max_lr", o.max_lr, "given and greater than 0");
  if (!o.total_steps && !(o.epochs && o.steps_per_epoch))
    throw ValueError("OneCycleLR: how long is the cycle? Give total_steps, or epochs and steps_per_epoch");
  if (o.total_steps) {
    require(*o.total_steps >= 1, name, "total_steps", *o.total_steps, "at least 1");
    total_steps_ = *o.total_steps;
  } else {
    require(*o.epochs >= 1, name, "epochs", *o.epochs, "at least 1");
    require(*o.steps_per_epoch >= 1, name, "steps_per_epoch", *o.steps_per_epoch, "at least 1");
    total_steps_ = *o.epochs * *o.steps_per_epoch;
  }
  require(o.pct_start >= 0 && o.pct_start <= 1, name, "pct_start", o.pct_start, "in [0, 1]");
  require(o.anneal_strategy == "cos" || o.anneal_strategy == "linear", name, "anneal_strategy",
          o.anneal_strategy, "cos or linear");
  require(o.div_factor > 0, name, "div_factor", o.div_factor, "greater than 0");
  require(o.final_div_factor > 0, name, "final_div_factor", o.final_div_factor, "greater than 0");
  if (o.cycle_momentum && !optimizer.momentum())
    throw ValueError("OneCycleLR: this optimiser has no momentum to cycle; set cycle_momentum = false");
  start();
}

double OneCycleLR::interpolate(std::int64_t step, double first, double top, double last) const {
  struct Phase {
    double end, from, to;
  };
  const double total = static_cast<double>(total_steps_), rise = options_.pct_start * total;
  const Phase up{rise - 1, first, top};
  const std::array<Phase, 3> three{up, {2 * rise - 2, top, first}, {total - 1, first, last}};
  const std::array<Phase, 3> two{up, {total - 1, top, last}, {}};
  const std::array<Phase, 3>& phases = options_.three_phase ? three : two;
  const std::size_t final_phase = options_.three_phase ? 2 : 1;

  const double now = static_cast<double>(step);
  std::size_t i = 0;
  double begin = 0;
  for (; i < final_phase && now > phases[i].end; ++i) begin = phases[i].end;
  const auto& [end, from, to] = phases[i];
  // A phase of no length is over at once; the step after the last stays where the cycle ended.
  const double part = end > begin ? std::min((now - begin) / (end - begin), 1.0) : 1.0;
  if (options_.anneal_strategy == "linear") return (to - from) * part + from;
  return to + (from - to) / 2 * (std::cos(pi * part) + 1);
}

double OneCycleLR::rate(std::int64_t step) const {
  if (step > total_steps_)
    throw ValueError(
        message("OneCycleLR: step {} of a cycle of {}; give it as many total_steps as the training "
                "takes",
                step, total_steps_));
  const double first = options_.max_lr / options_.div_factor;
  return interpolate(step, first, options_.max_lr, first / options_.final_div_factor);
}

std::optional<double> OneCycleLR::momentum(std::int64_t step) const {
  if (!options_.cycle_momentum) return {};
  return interpolate(step, options_.max_momentum, options_.base_momentum, options_.max_momentum);
}

LambdaLR::LambdaLR(Optimizer& optimizer, LambdaLROptions options)
    : LRScheduler(optimizer), options_(std::move(options)) {
  if (!options_.lr_lambda)
    throw ValueError("LambdaLR: lr_lambda is empty; give a function from the epoch to a factor");
  start();
}

double LambdaLR::rate(std::int64_t epoch) const { return base_lr() * options_.lr_lambda(epoch); }

LinearWarmup::LinearWarmup(Optimizer& optimizer, LinearWarmupOptions options)
    : LRScheduler(optimizer), options_(options) {
  require(options_.warmup_steps >= 0, "LinearWarmup", "warmup_steps", options_.warmup_steps, "at least 0");
  start();
}

double LinearWarmup::rate(std::int64_t step) const {
  return base_lr() *
         std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(options_.warmup_steps));
}

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
