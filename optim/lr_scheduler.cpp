#include "retort/optim/lr_scheduler.hpp"

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/core/state_checks.hpp"
#include "retort/optim/schedule_options_impl.hpp"

namespace retort {
namespace {

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

}  // namespace

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
    if (rates[g] <= 0 && rates[g] >= -detail::rounding * bases[g]) rates[g] = 0;
  }
  set(step, rates, bases);
}

void LRScheduler::step() { enter(last_epoch_ + 1); }

StateDict LRScheduler::state_dict() const {
  StateDict dict{detail::label("schedule", kind_),
                 {"last_epoch", number(static_cast<double>(last_epoch_))},
                 {"base_lr", per_group(base_lrs_)},
                 {"last_lr", per_group(last_lrs_)}};
  if (const std::string options = detail::options_of(rate_); !options.empty())
    dict.insert(detail::label("options", options));
  return dict;
}

void LRScheduler::check_state(const char* what, const StateDict& dict,
                              std::vector<detail::ExpectedEntry> expected) const {
  detail::check_label(what, dict, "schedule", kind_, expected);
  const auto rates = dict.find("last_lr");
  if (rates != dict.end() && rates->second.defined() && rates->second.size() != optimizer_.group_count())
    throw ValueError(message("{}: the state has {}, but the optimiser has {}", what,
                             detail::counted(rates->second.size(), "parameter group"),
                             optimizer_.group_count()));
  const std::string_view label = "options.";
  std::string options;
  for (const auto& [name, unused] : dict)
    if (name.starts_with(label)) {
      options = name.substr(label.size());
      expected.push_back({name, {0}});
    }
  detail::check_state(what, dict, expected);
  const std::string own = detail::options_of(rate_);
  if (options.empty() || options == own) return;
  const std::string warning = message(
      "{}::load_state_dict: the state was saved with {}, but this {} has {}, with which it continues; to "
      "continue as before, construct it with the options that were saved",
      kind_, options, kind_, own);
  detail::warn_once(warning, warning);
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

ReduceLROnPlateau::ReduceLROnPlateau(Optimizer& optimizer, ReduceLROnPlateauOptions options)
    : LRScheduler("ReduceLROnPlateau", optimizer), options_(std::move(options)) {
  const ReduceLROnPlateauOptions& o = options_;
  rate_ = detail::Described{
      [](const Moment&) -> double {
        throw ValueError(
            "ReduceLROnPlateau: step() needs the metric; call step(metric) of the scheduler itself");
      },
      detail::listed({{"factor", o.factor},
                      {"patience", o.patience},
                      {"threshold", o.threshold},
                      {"cooldown", o.cooldown},
                      {"min_lr", o.min_lr},
                      {"eps", o.eps}}) +
          ", threshold_mode = " + o.threshold_mode};
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
          detail::label("options", detail::options_of(rate_)),
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
  if (dict.contains("last_epoch")) expected.push_back({"last_epoch", {}});  // absent in earlier versions
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
