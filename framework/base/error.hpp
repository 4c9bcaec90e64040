// Exceptions and warnings. A message names the operation, what it got and what to do about it.
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

/// Base of everything that Retort throws on purpose. A call that throws has changed nothing.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// Shapes that do not fit together.
class ShapeError : public Error {
 public:
  using Error::Error;
};
/// An element type that the operation does not take.
class TypeError : public Error {
 public:
  using Error::Error;
};
/// A value or option outside its range.
class ValueError : public Error {
 public:
  using Error::Error;
};
/// A dimension, position or class index out of range.
class IndexError : public Error {
 public:
  using Error::Error;
};
/// A derivative that cannot be computed: a graph already spent, a value changed since, no history.
class GraphError : public Error {
 public:
  using Error::Error;
};
/// A file that cannot be read or written, or does not hold what it should.
class IoError : public Error {
 public:
  explicit IoError(const std::string& message, std::string path = {}, int error_code = 0)
      : Error(message), path_(std::move(path)), error_code_(error_code) {}

  /// The file or folder as the caller gave it; empty where there is none.
  const std::string& path() const noexcept { return path_; }
  /// The errno of the system call that failed; 0 where none did.
  int error_code() const noexcept { return error_code_; }

 private:
  std::string path_;
  int error_code_;
};

/// A function that receives the text of a warning.
using WarningHandler = std::function<void(std::string_view)>;

/// Installs what receives warnings and returns the previous handler. The default (also an empty function)
/// writes one line to stderr. Each kind of warning is given once per process, and again after a handler is
/// set.
WarningHandler set_warning_handler(WarningHandler handler);

namespace detail {
/// Hands `message` to the warning handler the first time that `kind` is seen.
void warn_once(std::string_view kind, std::string_view message);

/// Writes the text to a descriptor for people to read. A failure is ignored, also that of a pipe without a
/// reader: the SIGPIPE is suppressed for this thread and this call alone.
void write_quietly(int descriptor, std::string_view text);

void append_text(std::string& text, std::string_view part);
void append_text(std::string& text, std::int64_t number);
void append_text(std::string& text, std::size_t number);
void append_text(std::string& text, int number);
void append_text(std::string& text, double number);
}  // namespace detail

namespace detail {
/// A format string with one `{}` per argument; a mismatch does not compile.
template <class... Args>
struct Format {
  consteval Format(const char* format) : text(format) {  // NOLINT: made to be implicit
    std::size_t placeholders = 0;
    for (const char* c = format; *c != '\0'; ++c) placeholders += c[0] == '{' && c[1] == '}';
    if (placeholders != sizeof...(Args)) throw "a message needs one {} per argument";
  }
  const char* text;
};

/// Appends `format` up to its next `{}` and returns the rest after it, or appends all of it.
const char* append_until_placeholder(std::string& text, const char* format);

template <class... Args>
std::string formatted(const char* format, const Args&... args) {
  std::string text;
  ((format = append_until_placeholder(text, format), append_text(text, args)), ...);
  append_until_placeholder(text, format);
  return text;
}
}  // namespace detail

/// `format` with each `{}` replaced by an argument: a string, number, shape or dtype, as operator<< prints
/// it.
template <class... Args>
std::string message(detail::Format<std::type_identity_t<Args>...> format, const Args&... args) {
  return detail::formatted(format.text, args...);
}

}  // namespace retort
