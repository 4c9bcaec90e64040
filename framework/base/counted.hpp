// Counts with nouns, for messages. Internal.
#pragma once

#include <string>
#include <string_view>

#include "retort/framework/base/error.hpp"

namespace retort::detail {

/// Returns "rows" for "row", and in the same way "classes", "batches" and "entries".
std::string plural(std::string_view noun);

/// Returns "1 row" or "3 rows" for the noun "row".
template <class Count>
std::string counted(Count count, std::string_view noun) {
  return message("{} {}", count, count == 1 ? std::string(noun) : plural(noun));
}

}  // namespace retort::detail
