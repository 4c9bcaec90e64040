// Element types that files have and tensors do not. Internal.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace retort::detail {

struct BFloat16 {
  BFloat16() = default;
  explicit BFloat16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    // Rounds to nearest, ties to even. A carry into the exponent is correct, up to infinity, but NaN must not
    // become infinity.
    bits = static_cast<std::uint16_t>(value != value ? (word >> 16) | 0x40U
                                                     : (word + 0x7FFFU + (word >> 16 & 1U)) >> 16);
  }
  // First rounds to float with round-to-odd, so that the second rounding knows whether bits were lost.
  explicit BFloat16(double value) : BFloat16(to_odd(value)) {}
  explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

  static float to_odd(double value) {
    const auto nearest = static_cast<float>(value);
    if (static_cast<double>(nearest) == value || value != value) return nearest;
    auto word = std::bit_cast<std::uint32_t>(nearest);
    const bool away = (value > 0) == (static_cast<double>(nearest) > value);
    if (away) --word;  // the magnitude, since the sign is the top bit; infinity becomes the largest number
    return std::bit_cast<float>(word | 1U);
  }

  std::uint16_t bits = 0;
};

struct Bool {
  explicit operator std::int64_t() const { return byte != 0; }
  std::uint8_t byte = 0;
};

// Converts `count` elements at `from`, which may be unaligned, to elements at `to`.
using Convert = void (*)(const std::byte* from, std::size_t count, std::byte* to);

template <class From, class To>
void convert_each(const std::byte* from, std::size_t count, std::byte* to) {
  for (std::size_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, from + i * sizeof(From), sizeof(From));
    const auto converted = static_cast<To>(value);
    std::memcpy(to + i * sizeof(To), &converted, sizeof(To));
  }
}

}  // namespace retort::detail
