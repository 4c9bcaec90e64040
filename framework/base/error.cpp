#include "retort/framework/base/error.hpp"

#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <utility>

#include "retort/framework/base/dtype.hpp"
#include "retort/framework/base/shape.hpp"

namespace retort {
namespace {

struct Warnings {
  std::mutex mutex;
  WarningHandler handler;
  std::set<std::string, std::less<>> seen;
};

Warnings& warnings() {
  static Warnings* const state = new Warnings;  // a warning may come while static objects are destroyed
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
  // Called without the lock: a handler may use the library, or throw.
  if (handler) {
    handler(text);
  } else {
    std::fprintf(stderr, "retort: warning: %.*s\n", static_cast<int>(text.size()), text.data());
  }
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
void append_text(std::string& text, const Shape& shape) { text += to_string(shape); }
void append_text(std::string& text, DType dtype) { text += name(dtype); }

const char* append_until_placeholder(std::string& text, const char* format) {
  const char* placeholder = std::strstr(format, "{}");
  if (!placeholder) return text += format, format + std::strlen(format);
  text.append(format, placeholder);
  return placeholder + 2;
}

}  // namespace detail
}  // namespace retort
