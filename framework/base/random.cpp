#include "retort/framework/base/random.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <exception>
#include <limits>
#include <mutex>
#include <numbers>
#include <numeric>
#include <utility>

#include "retort/framework/base/draws.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/out_of_memory_impl.hpp"
#include "retort/framework/base/threads.hpp"

namespace retort {
namespace {

using Words = std::array<std::uint32_t, 4>;
__extension__ using Wide = unsigned __int128;

// Blocks are computed several at a time, word by word, so that the compiler can vectorise.
constexpr std::int64_t lanes = 16;
struct Lanes {
  std::array<std::array<std::uint32_t, lanes>, 4> words;
};

// Registers of 64-bit lanes, of which the low half is a word of a block. The high half is arbitrary.
#if defined(__AVX2__)
using Register [[gnu::vector_size(32)]] = std::uint64_t;
Register product(Register x, std::uint64_t factor) {
  return (Register)_mm256_mul_epu32((__m256i)x, _mm256_set1_epi64x(static_cast<long long>(factor)));
}
#else
using Register [[gnu::vector_size(16)]] = std::uint64_t;
#if defined(__SSE2__)
Register product(Register x, std::uint64_t factor) {
  return (Register)_mm_mul_epu32((__m128i)x, _mm_set1_epi64x(static_cast<long long>(factor)));
}
#endif
#endif
// For single numbers, and for registers of processors without such an instruction.
template <class Counter>
Counter product(Counter x, std::uint64_t factor) {
  return (x & 0xFFFFFFFF) * factor;
}

// The four words of Philox4x32-10 of each counter, with the key `seed`. Counters are numbers or registers of
// them. Those of a list are computed together, so that one computes while another waits.
template <class Counter, std::size_t n>
std::array<std::array<Counter, n>, 4> philox(std::uint64_t seed, std::array<Counter, n> a) {
  std::array<Counter, n> b{}, c{}, d{};
  for (std::size_t j = 0; j < n; ++j) b[j] = a[j] >> 32;
  std::uint64_t key0 = seed, key1 = seed >> 32;
  for (int round = 0; round < 10; ++round) {
    for (std::size_t j = 0; j < n; ++j) {
      const Counter product0 = product(a[j], 0xD2511F53), product1 = product(c[j], 0xCD9E8D57);
      a[j] = product1 >> 32 ^ b[j] ^ key0;
      c[j] = product0 >> 32 ^ d[j] ^ key1;
      b[j] = product1;
      d[j] = product0;
    }
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return {a, b, c, d};
}

// The words of one counter.
Words block_of(std::uint64_t seed, std::uint64_t counter) {
  const auto words = philox(seed, std::array{counter});
  Words block;
  for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<std::uint32_t>(words[i][0]);
  return block;
}

// The words of the counters first … first + lanes - 1.
Lanes lanes_from(std::uint64_t seed, std::uint64_t first) {
  using Pair = std::array<Register, 2>;
  constexpr std::int64_t size = sizeof(Pair) / sizeof(std::uint64_t);
  using Numbers = std::array<std::uint64_t, size>;
  static const Pair offsets = [] {
    Numbers numbers;
    std::iota(numbers.begin(), numbers.end(), 0);
    return std::bit_cast<Pair>(numbers);
  }();
  Lanes drawn;
  for (std::int64_t from = 0; from < lanes; from += size) {
    Pair counters = offsets;
    for (Register& counter : counters) counter += first + static_cast<std::uint64_t>(from);
    for (std::int64_t word = 0; const Pair& pair : philox(seed, counters)) {
      const auto numbers = std::bit_cast<Numbers>(pair);
      for (std::int64_t i = 0; i < size; ++i)
        drawn.words[word][from + i] = static_cast<std::uint32_t>(numbers[i]);
      ++word;
    }
  }
  return drawn;
}

// Calls write(first block, number of blocks, their words) for the blocks needed by n elements.
template <class Write>
void for_each_group(const Generator& generator, std::int64_t n, std::int64_t per_block, Write write) {
  const std::int64_t blocks = (n + per_block - 1) / per_block;
  parallel_for(blocks, 8192, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; block += lanes)
      write(block, std::min(lanes, end - block),
            lanes_from(generator.seed(), generator.position() + static_cast<std::uint64_t>(block)));
  });
}

// Calls write(first element, words of one block) for each block needed by n elements.
template <class Write>
void for_each_block(const Generator& generator, std::int64_t n, std::int64_t per_block, Write write) {
  for_each_group(generator, n, per_block, [&](std::int64_t block, std::int64_t count, const Lanes& drawn) {
    for (std::int64_t i = 0; i < count; ++i)
      write((block + i) * per_block,
            Words{drawn.words[0][i], drawn.words[1][i], drawn.words[2][i], drawn.words[3][i]});
  });
}

template <class T>
constexpr std::int64_t draws_per_block = sizeof(T) == 4 ? 4 : 2;

// Uniform in [0, 1): 24 bits of one word for float, 53 of two for double.
template <class T>
T unit(const Words& words, std::int64_t i) {
  if constexpr (sizeof(T) == 4) {
    return static_cast<float>(words[i] >> 8) * 0x1p-24F;
  } else {
    const std::uint64_t bits = std::uint64_t{words[2 * i]} << 32 | words[2 * i + 1];
    return static_cast<double>(bits >> 11) * 0x1p-53;
  }
}

thread_local Generator* guarded = nullptr;

std::mutex default_mutex;
Generator default_generator;
// A fork waits until the lock is free, since the child has none of the threads that would release it.
[[maybe_unused]] const int fork_handlers = ::pthread_atfork(
    [] { default_mutex.lock(); }, [] { default_mutex.unlock(); }, [] { default_mutex.unlock(); });

}  // namespace

std::uint64_t Generator::below(std::uint64_t bound) {
  if (bound == 0) throw ValueError("Generator::below: the bound must be at least 1");
  for (;;) {
    const Words drawn = block_of(seed_, advance(1));
    const std::uint64_t value = std::uint64_t{drawn[0]} << 32 | drawn[1];
    // Values in the incomplete last multiple of `bound` below 2^64 are drawn again. That multiple is shorter
    // than `bound`, so most values are accepted without the division that finds where it begins.
    if (value <= ~0ULL - bound || value <= ~0ULL - (~0ULL % bound + 1) % bound) return value % bound;
  }
}

double Generator::uniform() { return unit<double>(block_of(seed_, advance(1)), 0); }

GeneratorGuard::GeneratorGuard(Generator& generator) : previous_(std::exchange(guarded, &generator)) {}
GeneratorGuard::~GeneratorGuard() { guarded = previous_; }

void manual_seed(std::uint64_t seed) {
  const std::lock_guard lock(default_mutex);
  default_generator.manual_seed(seed);
}

Generator generator_state() {
  const std::lock_guard lock(default_mutex);
  return default_generator;
}

void set_generator_state(const Generator& state) {
  const std::lock_guard lock(default_mutex);
  default_generator = state;
}

std::vector<std::int64_t> random_permutation(std::int64_t n, Generator& generator) {
  if (n < 0) throw ValueError(message("random_permutation: n is {}; it must not be negative", n));
  std::vector<std::int64_t> order;
  try {
    order.resize(static_cast<std::size_t>(n));
  } catch (const std::exception&) {  // std::length_error for more elements than any vector can have
    throw detail::OutOfMemory(message("a permutation of {} numbers", n), "random_permutation");
  }
  detail::fill_permutation(order, generator);
  return order;
}

namespace detail {

Generator* guarded_generator() { return guarded; }

Generator take_from_default(std::uint64_t blocks) {
  const auto take = [blocks](Generator& from) {
    const Generator taken = from;
    from.advance(blocks);
    return taken;
  };
  if (guarded) return take(*guarded);
  const std::lock_guard lock(default_mutex);
  return take(default_generator);
}

std::uint64_t blocks_for(std::int64_t n, DType dtype) {
  const std::int64_t per_block = dtype == DType::float32 ? draws_per_block<float> : draws_per_block<double>;
  return static_cast<std::uint64_t>((n + per_block - 1) / per_block);
}

template <class T>
void fill_uniform(std::span<T> out, const Generator& generator, double low, double high) {
  constexpr std::int64_t per_block = draws_per_block<T>;
  const auto n = static_cast<std::int64_t>(out.size());
  const T from = static_cast<T>(low);
  const T width = static_cast<T>(high - low);
  // Rounding must not leave the interval: the first and last T in it. An empty interval contains only `low`.
  T first = from;
  if (static_cast<double>(first) < low) first = std::nextafter(first, std::numeric_limits<T>::infinity());
  T last = static_cast<T>(high);
  if (static_cast<double>(last) >= high) last = std::nextafter(last, -std::numeric_limits<T>::infinity());
  if (!(low < high)) first = last = from;
  const bool wide = !std::isfinite(width);
  for_each_block(generator, n, per_block, [=](std::int64_t start, const Words& words) {
    for (std::int64_t i = 0; i < per_block && start + i < n; ++i) {
      const T u = unit<T>(words, i);
      const T value = wide ? static_cast<T>(low * (1.0 - u) + high * u) : from + width * u;
      out[start + i] = std::min(std::max(value, first), last);
    }
  });
}

template <class T>
void fill_normal(std::span<T> out, const Generator& generator) {
  constexpr std::int64_t per_block = draws_per_block<T>;
  const auto n = static_cast<std::int64_t>(out.size());
  for_each_block(generator, n, per_block, [&](std::int64_t first, const Words& words) {
    // Box–Muller transform, in pairs; 1 - u is never 0.
    for (std::int64_t i = 0; i < per_block && first + i < n; i += 2) {
      const double radius = std::sqrt(-2 * std::log(1.0 - static_cast<double>(unit<T>(words, i))));
      const double angle = 2 * std::numbers::pi * static_cast<double>(unit<T>(words, i + 1));
      out[first + i] = static_cast<T>(radius * std::cos(angle));
      if (first + i + 1 < n) out[first + i + 1] = static_cast<T>(radius * std::sin(angle));
    }
  });
}

template <class T>
void fill_integers(std::span<T> out, const Generator& generator, std::int64_t low, std::int64_t high) {
  const std::uint64_t range = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
  for_each_block(
      generator, static_cast<std::int64_t>(out.size()), 1, [&](std::int64_t i, const Words& words) {
        // ⌊range · u⌋, where u in [0, 1) has the 128 bits of the block as its digits.
        std::uint64_t above = 0;
        for (std::int64_t k = 3; k >= 0; --k)
          above = static_cast<std::uint64_t>((Wide{range} * words[k] + above) >> 32);
        out[i] = static_cast<T>(static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + above));
      });
}

template <class T>
void fill_kept(std::span<T> out, const Generator& generator, double keep_probability, double scale) {
  const auto n = static_cast<std::int64_t>(out.size());
  const double threshold = keep_probability * 0x1p32;
  const auto limit = static_cast<std::uint64_t>(std::lround(std::min(threshold, 0x1p32)));
  const T kept = limit > 0 ? static_cast<T>(scale) : T{0};
  const auto last = static_cast<std::uint32_t>(limit - 1);
  for_each_group(generator, n, 4, [=](std::int64_t block, std::int64_t count, const Lanes& drawn) {
    std::array<T, 4 * lanes> values;
    for (std::int64_t i = 0; i < lanes; ++i)
      for (std::int64_t k = 0; k < 4; ++k) values[4 * i + k] = drawn.words[k][i] <= last ? kept : T{0};
    std::copy_n(values.data(), std::min(4 * count, n - 4 * block), out.data() + 4 * block);
  });
}

void fill_permutation(std::span<std::int64_t> out, Generator& generator) {
  std::iota(out.begin(), out.end(), 0);
  for (std::size_t i = out.size(); i > 1; --i) std::swap(out[i - 1], out[generator.below(i)]);
}

template void fill_uniform(std::span<float>, const Generator&, double, double);
template void fill_uniform(std::span<double>, const Generator&, double, double);
template void fill_normal(std::span<float>, const Generator&);
template void fill_normal(std::span<double>, const Generator&);
template void fill_integers(std::span<float>, const Generator&, std::int64_t, std::int64_t);
template void fill_integers(std::span<double>, const Generator&, std::int64_t, std::int64_t);
template void fill_integers(std::span<std::int64_t>, const Generator&, std::int64_t, std::int64_t);
template void fill_kept(std::span<float>, const Generator&, double, double);
template void fill_kept(std::span<double>, const Generator&, double, double);

}  // namespace detail
}  // namespace retort
