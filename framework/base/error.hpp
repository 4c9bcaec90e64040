// Exceptions and warnings. A message names the operation, the offending value and the remedy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

namespace detail {
/// Makes `Class({})` mean the default options: an initializer_list of it is preferred to a copy of a Class.
struct NoOptions {};
}  // namespace detail

/// Base class of Retort's exceptions. A call that throws has changed nothing.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// The shapes do not fit together.
struct ShapeError : Error {
  using Error::Error;
};
/// The operation does not accept the element type.
struct TypeError : Error {
  using Error::Error;
};
/// A value or option is outside its range.
struct ValueError : Error {
  using Error::Error;
};
/// A dimension, position or class index is out of range.
struct IndexError : Error {
  using Error::Error;
};
/// A derivative cannot be computed: the graph was released, a value changed, or there is no history.
struct GraphError : Error {
  using Error::Error;
};
/// A file cannot be read or written, or its contents are invalid.
class IoError : public Error {
 public:
  explicit IoError(const std::string& message, std::string path = {}, int error_code = 0)
      : Error(message), path_(std::move(path)), error_code_(error_code) {}

  /// The file or folder as the caller gave it; empty if there is none.
  const std::string& path() const noexcept { return path_; }
  /// The errno of the failed system call; 0 if there was none.
  int error_code() const noexcept { return error_code_; }

 private:
  std::string path_;
  int error_code_;
};

/// A function that receives the text of a warning.
using WarningHandler = std::function<void(std::string_view)>;

/// Installs a handler for warnings and returns the previous one. The default, which an empty function
/// restores, writes one line to stderr. Each kind of warning is issued once per process, and again after a
/// new handler is set.
WarningHandler set_warning_handler(WarningHandler handler);

namespace detail {
/// Passes `message` to the warning handler the first time that `kind` occurs.
void warn_once(std::string_view kind, std::string_view message);

/// Writes a message for the user to a descriptor. Failures are ignored, including a closed pipe: SIGPIPE is
/// suppressed for this call on this thread.
void write_quietly(int descriptor, std::string_view text);

void append_text(std::string& text, std::string_view part);
void append_text(std::string& text, std::int64_t number);
void append_text(std::string& text, std::size_t number);
void append_text(std::string& text, int number);
void append_text(std::string& text, double number);

/// A format string with one `{}` per argument. A mismatch is a compile error.
template <class... Args>
struct Format {
  consteval Format(const char* format) : text(format) {  // NOLINT: implicit by design
    std::size_t placeholders = 0;
    for (const char* c = format; *c != '\0'; ++c) placeholders += c[0] == '{' && c[1] == '}';
    if (placeholders != sizeof...(Args)) throw "a message needs one {} per argument";
  }
  const char* text;
};

/// Appends `format` up to its next `{}` and returns the rest; appends all of it if there is none.
const char* append_until_placeholder(std::string& text, const char* format);

template <class... Args>
std::string formatted(const char* format, const Args&... args) {
  std::string text;
  ((format = append_until_placeholder(text, format), append_text(text, args)), ...);
  append_until_placeholder(text, format);
  return text;
}
}  // namespace detail

/// Returns `format` with each `{}` replaced by an argument: a string, number, shape or dtype, as operator<<
/// prints it.
template <class... Args>
std::string message(detail::Format<std::type_identity_t<Args>...> format, const Args&... args) {
  return detail::formatted(format.text, args...);
}

}  // namespace retort
