#include "retort/framework/train/early_stopping.hpp"

#include <limits>
#include <utility>

#include "retort/framework/base/options.hpp"
#include "retort/framework/core/state_checks.hpp"

namespace retort {

EarlyStopping::EarlyStopping(EarlyStoppingOptions options)
    : options_(std::move(options)),
      best_((options_.mode == "max" ? -1 : 1) * std::numeric_limits<double>::infinity()) {
  if (options_.patience < 0)
    throw ValueError(message("EarlyStopping: patience is {}; it must be at least 0", options_.patience));
  detail::require_at_least_0("EarlyStopping", "min_delta", options_.min_delta);
  detail::require_option(options_.mode == "min" || options_.mode == "max", "EarlyStopping", "mode",
                         options_.mode, "min or max");
}

bool EarlyStopping::step(double metric) {
  improved_ =
      options_.mode == "min" ? metric < best_ - options_.min_delta : metric > best_ + options_.min_delta;
  if (improved_) best_ = metric;
  waited_ = improved_ ? 0 : waited_ + 1;
  return stopped();
}

StateDict EarlyStopping::state_dict() const {
  return {detail::label("mode", options_.mode),
          {"best", full({}, best_, DType::float64)},
          {"waited", full({}, waited_, DType::int64)},
          {"improved", full({}, std::int64_t{improved_}, DType::int64)}};
}

void EarlyStopping::load_state_dict(const StateDict& state) {
  const char* const what = "EarlyStopping::load_state_dict";
  std::vector<detail::ExpectedEntry> expected{{"best", {}}, {"waited", {}}, {"improved", {}}};
  detail::check_label(what, state, "mode", options_.mode, expected);
  detail::check_state(what, state, expected);
  const auto waited = state.at("waited").item<double>();
  if (!(waited >= 0 && waited < 0x1p53))
    throw ValueError(message("{}: waited is {}; it must be a count", what, waited));
  best_ = state.at("best").item<double>();
  waited_ = static_cast<std::int64_t>(waited);
  improved_ = state.at("improved").item<double>() != 0;
}

}  // namespace retort
