#include "retort/framework/base/thread_state.hpp"

#include <atomic>

namespace retort::detail {

thread_local constinit ThreadState thread_state;

namespace {
std::atomic<std::uint64_t> id_counter{1};
}

std::uint64_t current_id() noexcept { return id_counter.load(std::memory_order_relaxed); }
std::uint64_t next_id() noexcept { return id_counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace retort::detail
