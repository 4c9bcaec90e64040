#include "retort/framework/base/error.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <utility>

namespace retort {
namespace {

struct Warnings {
  std::mutex mutex;
  WarningHandler handler;
  std::set<std::string, std::less<>> seen;
};

Warnings& warnings() {
  static Warnings* const state = new Warnings;  // warnings may be issued while static objects are destroyed
  return *state;
}

}  // namespace

WarningHandler set_warning_handler(WarningHandler handler) {
  Warnings& state = warnings();
  const std::lock_guard lock(state.mutex);
  state.seen.clear();
  return std::exchange(state.handler, std::move(handler));
}

namespace detail {

void warn_once(std::string_view kind, std::string_view text) {
  Warnings& state = warnings();
  WarningHandler handler;
  {
    const std::lock_guard lock(state.mutex);
    if (!state.seen.emplace(kind).second) return;
    handler = state.handler;
  }
  // Called without holding the lock: a handler may use the library or throw.
  if (handler) {
    handler(text);
  } else {
    write_quietly(STDERR_FILENO, message("retort: warning: {}\n", text));
  }
}

void write_quietly(int descriptor, std::string_view text) {
  sigset_t pipe, before, pending;
  ::sigemptyset(&pipe);
  ::sigaddset(&pipe, SIGPIPE);
  ::sigpending(&pending);
  const bool was_pending = ::sigismember(&pending, SIGPIPE) == 1;
  if (::pthread_sigmask(SIG_BLOCK, &pipe, &before) != 0) return;
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      // Removes the signal that this write raised; one that was pending before belongs to the caller.
      const timespec now{};
      if (errno == EPIPE && !was_pending)
        while (::sigtimedwait(&pipe, nullptr, &now) < 0 && errno == EINTR) {
        }
      break;
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void append_text(std::string& text, std::string_view part) { text += part; }
void append_text(std::string& text, std::int64_t number) { text += std::to_string(number); }
void append_text(std::string& text, std::size_t number) { text += std::to_string(number); }
void append_text(std::string& text, int number) { text += std::to_string(number); }
void append_text(std::string& text, double number) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%g", number);
  text += buffer;
}

const char* append_until_placeholder(std::string& text, const char* format) {
  const char* placeholder = std::strstr(format, "{}");
  if (!placeholder) return text += format, format + std::strlen(format);
  text.append(format, placeholder);
  return placeholder + 2;
}

}  // namespace detail
}  // namespace retort
