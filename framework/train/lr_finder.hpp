// A range test for the learning rate.
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
  double smoothing = 0.9;    ///< weight of the past in the running average of the losses
  double divergence = 4;     ///< ends the test when the smoothed loss exceeds this times the lowest one
};

/// The result of find_lr().
struct FoundLR {
  std::vector<double> rates = {};
  std::vector<double> losses = {};  ///< smoothed, one per rate that was tried
  double steepest = 0;              ///< the rate at which the smoothed loss falls fastest
  double lowest = 0;                ///< the rate at which the smoothed loss is lowest
};

/// Trains with rates that rise from one step to the next, and records the losses; the module and the
/// optimiser are then what they were before. `loss_of_step` takes the next batch, computes gradients and
/// returns the loss:
///
///     auto batches = loader.begin();
///     const rt::FoundLR found = rt::find_lr(model, optimizer, [&] {
///       const rt::Batch& batch = *batches;
///       optimizer.zero_grad();
///       const rt::Tensor loss = rt::cross_entropy(model(batch.input), batch.target);
///       loss.backward();
///       ++batches;
///       return loss.item<double>();
///     });
///     optimizer.set_lr(found.steepest);
///
/// Recipe: plot the losses over the rates on a logarithmic axis. Below a useful rate they stay level, then
/// they fall, and finally they rise. Take the rate where they fall fastest (`steepest`), or a tenth of the
/// rate where they are lowest (`lowest` / 10), which is the safer choice; for OneCycleLR, take `lowest` / 3
/// as max_lr. Every parameter group gets the same rate during the test. The position of a loader and the
/// random generator move on.
/// Throws: ValueError for options out of range or if the first loss is not finite. After any error the module
/// and the optimiser are restored, too.
/// Smith, "Cyclical learning rates for training neural networks" (2017).
[[nodiscard]] FoundLR find_lr(Module& module, Optimizer& optimizer,
                              const std::function<double()>& loss_of_step, FindLROptions options = {});

}  // namespace retort
