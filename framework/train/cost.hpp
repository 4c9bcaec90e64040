// Size and latency of a model.
#pragma once

#include <cstdint>
#include <functional>

#include "retort/framework/train/predict.hpp"

namespace [[RETORT_EXPORT]] retort {

// Function objects are not found by argument-dependent lookup, so a program may have functions of these
// names.
namespace detail {
double median_milliseconds(std::int64_t calls, const std::function<void()>& call);

struct ParameterCount {
  [[nodiscard]] std::int64_t operator()(const Module& module) const;
};
struct Latency {
  template <class Model>
  [[nodiscard]] double operator()(Model& model, const Tensor& inputs, std::int64_t calls = 200) const {
    return median_milliseconds(calls, [&] { static_cast<void>(predict(model, inputs)); });
  }
};
}  // namespace detail

/// `parameter_count(module)` is the number of elements of all parameters, frozen ones included; tied ones
/// count once.
inline constexpr detail::ParameterCount parameter_count{};

/// `latency(model, inputs, calls)` is the median time of predict(model, inputs) over `calls` calls (default
/// 200), in milliseconds: for a single row, the latency of one answer.
/// Throws: ValueError if calls < 1; the errors of predict().
inline constexpr detail::Latency latency{};

}  // namespace retort
