// Checks of a reader in addition to those of libFuzzer and the sanitizers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/tensor.hpp"

namespace retort::fuzz {

inline constexpr std::size_t megabyte = std::size_t{1} << 20;

/// The file name that the targets give their input.
inline constexpr std::string_view input_name = "fuzz-input";

/// The largest amount of memory that a reader may request for an input of `size` bytes.
constexpr std::size_t memory_bound(std::size_t size) { return 64 * megabyte + 16 * size; }

/// Reports a finding: prints it and aborts, so that libFuzzer keeps the input.
[[noreturn]] void fail(std::string_view finding);

/// The memory that the program currently holds, in bytes.
struct Memory {
  std::int64_t all = 0;          ///< from malloc, new and the like, the pool's included
  std::int64_t pool_in_use = 0;  ///< handed out by the pool
  std::int64_t pool_cached = 0;  ///< kept by the pool for the next request
  std::int64_t elsewhere() const { return all - pool_in_use - pool_cached; }
};
Memory memory();
/// The most of Memory::all since reset_peak().
std::int64_t peak_memory();
void reset_peak();

/// The same after emptying the pool if it caches more than a megabyte. Emptying it always would double the
/// time.
Memory tidied_memory();

/// Fails unless the message of a refusal is printable, short, one line, and names the input.
void check_message(std::string_view text);

inline std::span<const std::byte> bytes_of(const std::uint8_t* data, std::size_t size) {
  return std::as_bytes(std::span(data, size));
}

/// Equal in type, shape and every bit.
bool same_bits(const Tensor& a, const Tensor& b);

/// A file for a target's output, in a folder of this process.
std::string scratch_file();

/// Calls read(), which may throw a Refusal and nothing else, and check() with what it returns. Fails when
/// read() has taken more than `most` bytes at a time, or when memory is not given back.
template <class Refusal = IoError, class Read, class Check>
void run(std::size_t most, Read read, Check check) {
  for (int attempt = 1;; ++attempt) {
    const Memory before = memory();
    {
      std::optional<decltype(read())> result;
      reset_peak();
      try {
        result.emplace(read());
      } catch (const Refusal& refusal) {
        check_message(refusal.what());
      }
      // Cached memory may have been reused without a request.
      const std::int64_t taken = peak_memory() - before.all + before.pool_cached;
      if (taken > static_cast<std::int64_t>(most))
        fail(message("reading took {} bytes; at most {} are allowed", taken, most));
      if (result) check(*result);
    }
    const Memory after = tidied_memory();
    if (after.pool_in_use <= before.pool_in_use && after.elsewhere() <= before.elsewhere()) return;
    // Objects created once explain growth the first time, but not every time.
    if (attempt == 3)
      fail(message("not given back: {} bytes of the pool, {} others", after.pool_in_use - before.pool_in_use,
                   after.elsewhere() - before.elsewhere()));
  }
}

}  // namespace retort::fuzz
