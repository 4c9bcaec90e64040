// Formatting of numbers.
#pragma once

#include <array>
#include <cstdio>
#include <string>

namespace distill {

/// Formats values as std::printf does, up to 255 bytes.
template <class... Values>
std::string formatted(const char* format, Values... values) {
  std::array<char, 256> text{};
  std::snprintf(text.data(), text.size(), format, values...);
  return text.data();
}

}  // namespace distill
