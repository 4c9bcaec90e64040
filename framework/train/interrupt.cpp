#include "retort/framework/train/interrupt.hpp"

#include <signal.h>

#include <atomic>
#include <cerrno>

#include "retort/framework/base/error.hpp"
#include "retort/framework/io/input_impl.hpp"

namespace retort {
namespace {

std::atomic<bool> guarded{false};
std::atomic<bool> came{false};  // lock-free, so that a handler may write it
static_assert(std::atomic<bool>::is_always_lock_free);
struct sigaction before {};

extern "C" void retort_note_interrupt(int) { came.store(true, std::memory_order_relaxed); }

}  // namespace

InterruptGuard::InterruptGuard() {
  if (guarded.exchange(true))
    throw Error("InterruptGuard: there is one already; make one, where the run begins");
  came = false;
  struct sigaction action {};
  action.sa_handler = retort_note_interrupt;
  // One signal and the default is back, so that the next one kills; reads and writes go on undisturbed.
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  ::sigemptyset(&action.sa_mask);
  if (::sigaction(SIGINT, nullptr, &before) != 0 ||
      (before.sa_handler != SIG_IGN && ::sigaction(SIGINT, &action, nullptr) != 0)) {
    guarded = false;
    throw Error(message("InterruptGuard: cannot take SIGINT: {}", detail::system_message(errno)));
  }
}

InterruptGuard::~InterruptGuard() {
  ::sigaction(SIGINT, &before, nullptr);
  guarded = false;
}

bool interrupted() noexcept { return came.load(std::memory_order_relaxed); }

}  // namespace retort
