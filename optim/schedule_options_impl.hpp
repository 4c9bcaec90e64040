// The functions of schedules with their options as text, which state dicts contain. Internal.
#pragma once

#include <array>
#include <charconv>
#include <initializer_list>
#include <string>
#include <utility>

#include "retort/optim/lr_scheduler.hpp"

namespace retort::detail {

/// A negative rate of at most this fraction of the base rate is treated as a rounding error of 0.
constexpr double rounding = 1e-9;

/// The function of a schedule, with its options as text.
struct Described {
  LRScheduler::Function function;
  std::string options;
  double operator()(const LRScheduler::Moment& at) const { return function(at); }
};
/// The options of a schedule's function; empty if they are not known.
inline std::string options_of(const LRScheduler::Function& rate) {
  const auto* const described = rate.target<Described>();
  return described ? described->options : std::string();
}

/// Text such as "step_size = 1, gamma = 0.1". Each number is the shortest that is read back exactly.
inline std::string listed(std::initializer_list<std::pair<const char*, double>> options) {
  std::string text;
  for (const auto& [name, value] : options) {
    std::array<char, 32> digits{};
    std::to_chars(digits.data(), digits.data() + digits.size() - 1, value);
    text += message("{}{} = {}", text.empty() ? "" : ", ", name, digits.data());
  }
  return text;
}

}  // namespace retort::detail
