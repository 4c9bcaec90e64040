// Size and latency of a model.
#pragma once

#include <cstdint>
#include <functional>

#include "retort/framework/train/predict.hpp"

namespace retort {

/// The number of elements of all parameters, frozen ones included; tied ones count once.
[[nodiscard]] std::int64_t parameter_count(const Module& module);

namespace detail {
double median_milliseconds(std::int64_t calls, const std::function<void()>& call);
}

/// The median time in milliseconds of predict(model, inputs), over as many calls: for a single row, the
/// latency of one answer.
/// Throws: ValueError for calls < 1; and what predict() throws.
template <class Model>
[[nodiscard]] double latency(Model& model, const Tensor& inputs, std::int64_t calls = 200) {
  return detail::median_milliseconds(calls, [&] { static_cast<void>(predict(model, inputs)); });
}

}  // namespace retort
