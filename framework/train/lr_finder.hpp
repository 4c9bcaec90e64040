// Learning rate range test.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

class Module;
class Optimizer;

struct FindLROptions {
  double first = 1e-7;       ///< the lowest rate
  double last = 10;          ///< the highest rate
  std::int64_t steps = 100;  ///< number of rates, in geometric progression
  double smoothing = 0.9;    ///< weight of the past in the moving average of the losses
  double divergence = 4;     ///< ends the test when the smoothed loss exceeds this multiple of the lowest one
};

/// The result of find_lr().
struct FoundLR {
  std::vector<double> rates = {};
  std::vector<double> losses = {};  ///< smoothed, one per rate tried
  double steepest = 0;              ///< the rate at which the smoothed loss decreases fastest
  double lowest = 0;                ///< the rate at which the smoothed loss is lowest
};

/// Trains with increasing rates and records the losses, then restores the module and the optimiser.
/// `loss_of_step` takes the next batch, computes gradients and returns the loss:
///
///     auto batches = loader.begin();
///     const rt::FoundLR found = rt::find_lr(model, optimizer, [&] {
///       optimizer.zero_grad();
///       const rt::Tensor loss = rt::cross_entropy(model(batches->input), batches->target);
///       loss.backward();
///       if (++batches == loader.end()) batches = loader.begin();  // a new epoch
///       return loss.item<double>();
///     });
///     optimizer.set_lr(found.steepest);
///
/// Usage: plot the losses over the rates on a logarithmic axis. They are flat at low rates, then fall, and
/// finally rise. Use the rate where they fall fastest (`steepest`), or, as the safer choice, a tenth of the
/// rate where they are lowest (`lowest` / 10); for OneCycleLR, use `lowest` / 3 as max_lr. All parameter
/// groups have the same rate during the test. The position of a loader and the random generator are not
/// restored.
/// Throws: ValueError if an option is out of range or the first loss is not finite. The module and the
/// optimiser are restored after any error.
/// Source: Smith, "Cyclical learning rates for training neural networks" (2017).
[[nodiscard]] FoundLR find_lr(Module& module, Optimizer& optimizer,
                              const std::function<double()>& loss_of_step, FindLROptions options = {});

}  // namespace retort
