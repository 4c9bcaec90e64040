#include "distill/run/observer.hpp"

#include <iostream>

namespace distill {

Position ProgressObserver::begin(const Training& training, std::int64_t steps,
                                 const retort::CheckpointParts& /*parts*/) {
  show(training, steps, {});
  return {};
}

void ProgressObserver::show(const Training& training, std::int64_t steps, const Position& at) {
  const std::int64_t epochs = training.recipe.epochs;
  progress_.emplace(
      training.title(),
      retort::ProgressOptions{.epochs = epochs, .steps = steps / epochs, .done = at.step, .quiet = quiet_});
}

void ProgressObserver::step(const Position& /*at*/, double loss) { progress_->step(loss); }

void ProgressObserver::epoch(const Position& /*at*/, double loss, const Mlp& /*model*/) {
  progress_->epoch(loss);
}

void ProgressObserver::say(const std::string& line) {
  progress_.reset();
  if (!quiet_) std::cerr << line << '\n';
}

}  // namespace distill
