#include "retort/framework/train/lr_finder.hpp"

#include <algorithm>
#include <cmath>

#include "retort/framework/nn/module.hpp"
#include "retort/optim/optimizer.hpp"

namespace retort {
namespace {

void require(bool fits, const char* option, double value, const char* range) {
  if (!fits) throw ValueError(message("find_lr: {} is {}; it must be {}", option, value, range));
}

/// Restores a module and its optimiser on destruction.
class Restored {
 public:
  Restored(Module& module, Optimizer& optimizer)
      : module_(module),
        optimizer_(optimizer),
        values_(module.state_dict()),
        state_(optimizer.state_dict()) {}
  ~Restored() {
    module_.load_state_dict(values_);
    optimizer_.load_state_dict(state_);
    optimizer_.zero_grad();
  }
  Restored(const Restored&) = delete;
  Restored& operator=(const Restored&) = delete;

 private:
  Module& module_;
  Optimizer& optimizer_;
  StateDict values_, state_;
};

}  // namespace

FoundLR find_lr(Module& module, Optimizer& optimizer, const std::function<double()>& loss_of_step,
                FindLROptions options) {
  const auto [first, last, steps, smoothing, divergence] = options;
  require(first > 0, "first", first, "greater than 0");
  require(last > first && std::isfinite(last), "last", last, "finite and greater than first");
  require(steps >= 2, "steps", static_cast<double>(steps), "at least 2");
  require(smoothing >= 0 && smoothing < 1, "smoothing", smoothing, "in [0, 1)");
  require(divergence > 1, "divergence", divergence, "greater than 1");
  if (!loss_of_step) throw ValueError("find_lr: loss_of_step is empty; it must compute the loss of a step");

  const Restored restored(module, optimizer);
  FoundLR found;
  double average = 0;
  for (std::int64_t i = 0; i < steps; ++i) {
    const double part = static_cast<double>(i) / static_cast<double>(steps - 1);
    const double rate = first * std::pow(last / first, part);
    optimizer.set_lr(rate);
    const double loss = loss_of_step();
    if (i == 0) require(std::isfinite(loss), "the first loss", loss, "finite");
    // Moving average of the losses, with bias correction.
    average = smoothing * average + (1 - smoothing) * loss;
    const double smoothed = average / (1 - std::pow(smoothing, static_cast<double>(i + 1)));
    if (!std::isfinite(smoothed)) break;
    const double best =
        found.losses.empty() ? smoothed : *std::min_element(found.losses.begin(), found.losses.end());
    found.rates.push_back(rate);
    found.losses.push_back(smoothed);
    if (smoothed > best + (divergence - 1) * std::abs(best)) break;
    optimizer.step();
  }

  const auto at = [&](std::size_t i) { return found.losses[i]; };
  std::size_t lowest = 0, steepest = 0;
  double slope = 0;
  for (std::size_t i = 1; i < found.losses.size(); ++i) {
    if (at(i) < at(lowest)) lowest = i;
    if (at(i) - at(i - 1) < slope) {
      slope = at(i) - at(i - 1);
      steepest = i - 1;  // the rate of the step between the two losses
    }
  }
  found.lowest = found.rates[lowest];
  found.steepest = found.rates[steepest];
  return found;
}

}  // namespace retort
