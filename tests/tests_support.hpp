// Helpers shared by several test files.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

namespace retort::tests {

/// Whether this is a build with sanitizers, where long tests do less of the same.
inline constexpr bool sanitized = !std::string_view(RETORT_SANITIZE).empty();

/// Sets or unsets an environment variable during its lifetime.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* const before = std::getenv(name)) before_ = before;
    set(value);
  }
  ~Variable() { set(before_ ? before_->c_str() : nullptr); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  void set(const char* value) { value ? ::setenv(name_, value, 1) : ::unsetenv(name_); }

  const char* name_;
  std::optional<std::string> before_;
};

/// The processor time of a call, which does not depend on how busy the machine is.
template <class F>
double seconds_of(F&& f) {
  const std::clock_t start = std::clock();
  f();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

/// The message of the Expected exception that f throws. If f throws none, a check fails and the text is
/// empty.
template <class Expected, class F>
std::string thrown_text(F&& f) {
  try {
    f();
  } catch (const Expected& error) {
    return error.what();
  }
  BOOST_ERROR("nothing was thrown");
  return {};
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace retort::tests
