// Memory for buffers, tensors and graph nodes: a caching pool with per-thread free lists.
#pragma once

#include <cstddef>
#include <cstdint>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Memory statistics of the pool over all threads, in bytes. After the first training steps,
/// `system_requests` should remain constant.
struct MemoryStats {
  std::int64_t in_use = 0;           ///< handed out and not yet freed
  std::int64_t cached = 0;           ///< free, kept for later requests
  std::int64_t peak_in_use = 0;      ///< maximum since the last reset, sampled at requests of 256 KB or more
  std::int64_t system_requests = 0;  ///< number of allocations from the system since the start
};
/// The current statistics of all threads.
MemoryStats memory_stats();
/// Sets `peak_in_use` to the current `in_use`.
void reset_peak_memory();

/// Returns the cached blocks of the calling thread and of the shared lists to the system.
void release_memory();
/// Limits the bytes that the pool caches (default 1 GiB). Blocks freed beyond that return to the system.
void set_memory_cap(std::int64_t bytes);

/// Number of graph nodes alive in this process; 0 once all graphs and all leaves that require a gradient are
/// destroyed.
std::int64_t live_nodes();

namespace detail {
/// Allocates at least `bytes` bytes, aligned to 64. Any thread may free them. Throws std::bad_alloc.
void* pool_allocate(std::size_t bytes);
/// `bytes` is the size that was requested. Under AddressSanitizer the block is poisoned until it is reused.
void pool_free(void* block, std::size_t bytes) noexcept;
/// Adds to live_nodes(). Counted per thread, next to the thread's free lists.
void count_nodes(std::int64_t change) noexcept;
}  // namespace detail

}  // namespace retort
