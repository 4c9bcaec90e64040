// Memory for buffers, tensors and graph nodes: a caching pool with per-thread free lists.
#pragma once

#include <cstddef>
#include <cstdint>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

/// What the pool holds, in bytes, over all threads. After its first steps a training step allocates from what
/// the pool already has, so `system_requests` stands still.
struct MemoryStats {
  std::int64_t in_use = 0;  ///< handed out and not given back
  std::int64_t cached = 0;  ///< free, kept for the next request
  std::int64_t peak_in_use =
      0;  ///< the most since the last reset, as seen whenever 256 KB or more were asked for
  std::int64_t system_requests = 0;  ///< how often the system was asked for memory, ever
};
/// The current statistics of all threads.
MemoryStats memory_stats();
/// Sets `peak_in_use` to what is in use now.
void reset_peak_memory();

/// Gives what the calling thread and the shared lists have cached back to the system.
void release_memory();
/// The most that the pool caches, in bytes (default 1 GiB); what is freed beyond goes back to the system.
void set_memory_cap(std::int64_t bytes);

/// Number of graph nodes alive in this process: 0 once every graph and every leaf that requires a gradient is
/// gone.
std::int64_t live_nodes();

namespace detail {
/// At least `bytes` bytes, aligned to 64. Throws std::bad_alloc. Any thread may free them.
void* pool_allocate(std::size_t bytes);
/// `bytes` must be what was asked for. Under AddressSanitizer the block is poisoned until it is used again.
void pool_free(void* block, std::size_t bytes) noexcept;
/// Adds to the number that live_nodes() returns; counted per thread, next to that thread's free lists.
void count_nodes(std::int64_t change) noexcept;
}  // namespace detail

}  // namespace retort
