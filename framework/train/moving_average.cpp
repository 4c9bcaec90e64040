#include "retort/framework/train/moving_average.hpp"

#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/state_checks.hpp"
#include "retort/framework/kernels/optimizer_updates.hpp"
#include "retort/framework/nn/module.hpp"

namespace retort {

ExponentialMovingAverage::ExponentialMovingAverage(const Module& module,
                                                   ExponentialMovingAverageOptions options)
    : decay_(options.decay) {
  if (!(decay_ >= 0 && decay_ <= 1))
    throw ValueError(message("ExponentialMovingAverage: decay is {}; it must be in [0, 1]", decay_));
  for (const auto& [name, tensor] : module.named_parameters())
    entries_.push_back({name, tensor, tensor.detach().clone(), is_floating_point(tensor.dtype())});
  for (const auto& [name, tensor] : module.named_buffers())
    entries_.push_back({name, tensor, tensor.detach().clone(), false});
}

void ExponentialMovingAverage::update() {
  if (applied_)
    throw ValueError(
        "ExponentialMovingAverage: update() while the averages are in the module; end the lifetime of what "
        "apply() returned first");
  for (Entry& entry : entries_) {
    const Tensor& source = entry.source;
    if (entry.average.dtype() != source.dtype()) entry.average = entry.average.to(source.dtype());
    if (!entry.averaged) {
      detail::copy_values(source, entry.average);
      continue;
    }
    compute_into(
        source.dtype(),
        [&](auto* average, const auto* value) {
          kernels::move_average(average, value, source.size(), decay_);
        },
        writable(entry.average), source);
  }
}

void ExponentialMovingAverage::swap() {
  for (Entry& entry : entries_) {
    const Tensor held = entry.source.detach().clone();
    detail::copy_values(entry.average, entry.source);
    entry.average = held;
  }
  applied_ = !applied_;
}

ExponentialMovingAverage::Applied ExponentialMovingAverage::apply() { return Applied(*this); }

ExponentialMovingAverage::Applied::Applied(ExponentialMovingAverage& average) : average_(average) {
  if (average.applied_) throw ValueError("ExponentialMovingAverage: the averages are in the module already");
  average_.swap();
}

ExponentialMovingAverage::Applied::~Applied() { average_.swap(); }

bool ExponentialMovingAverage::tracks(const Module& module) const {
  for (const Tensors& tensors : {module.parameters(), module.buffers()})
    for (const Tensor& tensor : tensors)
      for (const Entry& entry : entries_)
        if (detail::Access::same(tensor, entry.source)) return true;
  return false;
}

StateDict ExponentialMovingAverage::state_dict() const {
  StateDict dict;
  for (const Entry& entry : entries_)
    dict[entry.name] = (applied_ ? entry.source : entry.average).detach().clone();
  return dict;
}

void ExponentialMovingAverage::load_state_dict(const StateDict& state) {
  std::vector<detail::ExpectedEntry> expected;
  for (const Entry& entry : entries_) expected.push_back({entry.name, entry.source.shape()});
  detail::check_state("ExponentialMovingAverage::load_state_dict", state, expected);
  for (const Entry& entry : entries_)
    detail::copy_values(state.at(entry.name), applied_ ? entry.source : entry.average);
}

}  // namespace retort
