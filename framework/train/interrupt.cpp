#include "retort/framework/train/interrupt.hpp"

#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <vector>

#include "retort/framework/base/error.hpp"
#include "retort/framework/distributed/communicator.hpp"
#include "retort/framework/distributed/transport_impl.hpp"
#include "retort/framework/io/input_impl.hpp"

namespace retort {
namespace {

std::atomic<bool> guarded{false};
std::atomic<bool> signalled{false};  // lock-free, so that a signal handler may write it
static_assert(std::atomic<bool>::is_always_lock_free);
constexpr std::array<int, 2> signals{SIGINT, SIGTERM};
std::array<struct sigaction, signals.size()> before{};

extern "C" void retort_note_interrupt(int) { signalled.store(true, std::memory_order_relaxed); }

// Restores the first `count` actions.
void restore(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) ::sigaction(signals[i], &before[i], nullptr);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  if (guarded.exchange(true))
    throw Error(
        "InterruptGuard: only one RunFolder or InterruptGuard can exist in a process at a time; destroy the "
        "other one first");
  signalled = false;
  struct sigaction action {};
  action.sa_handler = retort_note_interrupt;
  // The first signal resets the default, so that the next one kills; interrupted reads and writes are
  // restarted.
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  ::sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < signals.size(); ++i) {
    if (::sigaction(signals[i], nullptr, &before[i]) == 0 &&
        (before[i].sa_handler == SIG_IGN || ::sigaction(signals[i], &action, nullptr) == 0))
      continue;
    const int cause = errno;
    restore(i);
    guarded = false;
    throw Error(message("InterruptGuard: cannot take {}: {}", signals[i] == SIGINT ? "SIGINT" : "SIGTERM",
                        detail::system_message(cause)));
  }
}

InterruptGuard::~InterruptGuard() {
  restore(signals.size());
  guarded = false;
}

bool interrupted() noexcept { return signalled.load(std::memory_order_relaxed); }

bool interrupted(const Communicator& world) {
  const char own = interrupted() ? 1 : 0;
  if (world.size() == 1) return own != 0;
  std::vector<char> all(static_cast<std::size_t>(world.size()));
  world.transport()->all_gather(&own, all.data(), 1);
  return std::ranges::count(all, 1) > 0;
}

}  // namespace retort
