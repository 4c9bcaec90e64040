#include "retort/framework/train/cost.hpp"

#include <algorithm>
#include <chrono>

#include "retort/framework/base/error.hpp"

namespace retort::detail {

std::int64_t ParameterCount::operator()(const Module& module) const {
  std::int64_t count = 0;
  for (const Tensor& parameter : module.parameters()) count += parameter.size();
  return count;
}

double median_milliseconds(std::int64_t calls, const std::function<void()>& call) {
  using Clock = std::chrono::steady_clock;
  if (calls < 1) throw ValueError(message("latency: the number of calls must be at least 1, not {}", calls));
  std::vector<double> times(static_cast<std::size_t>(calls));
  for (double& time : times) {
    const Clock::time_point begin = Clock::now();
    call();
    time = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  }
  const auto middle = times.begin() + calls / 2;
  std::ranges::nth_element(times, middle);
  return *middle;
}

}  // namespace retort::detail
