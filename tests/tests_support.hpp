// What several test files need.
#pragma once

#include <boost/test/unit_test.hpp>
#include <string>
#include <string_view>

namespace retort::tests {

/// The text of the Expected that f throws; a failed check, and an empty text, when it throws none.
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
