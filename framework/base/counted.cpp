#include "retort/framework/base/counted.hpp"

namespace retort::detail {

std::string plural(std::string_view noun) {
  if (noun.ends_with('s') || noun.ends_with('x') || noun.ends_with("tch")) return message("{}es", noun);
  if (noun.ends_with("ry")) return message("{}ies", noun.substr(0, noun.size() - 1));
  return message("{}s", noun);
}

}  // namespace retort::detail
