// JSON from files that may be hostile. Internal.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "retort/framework/base/error.hpp"

namespace retort::detail {

using Json = nlohmann::ordered_json;  // keeps the order of the keys

struct JsonLimits {
  std::size_t depth;  ///< maximum nesting of objects and lists
  std::size_t parts;  ///< maximum number of keys and values
};

/// Thrown if a text is not JSON; what() is the cause.
class JsonError : public ValueError {
 public:
  JsonError(const std::string& cause, std::size_t position) : ValueError(cause), byte(position) {}
  const std::size_t byte;
};

/// Builds a value from the events of the parser, in time linear in the length of the text.
class JsonBuilder {
 public:
  explicit JsonBuilder(const JsonLimits& limits) : limits_(limits) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(std::int64_t value) { return add(value); }
  bool number_unsigned(std::uint64_t value) { return add(value); }
  bool number_float(double value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }
  bool start_object(std::size_t) { return add(Json::object()); }
  bool start_array(std::size_t) { return add(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    count();
    open_.back()->get_ref<Json::object_t&>().emplace_back(std::move(name), nullptr);
    return true;
  }
  bool parse_error(std::size_t byte, const std::string&, const nlohmann::json::exception& error) {
    const std::string text = error.what();  // [identifier] parse error at line 1, column 2: cause
    throw JsonError(text.substr(text.find(": ") + 2), byte);
  }

  Json root;

 private:
  bool add(Json value) {
    count();
    Json* place = &root;
    if (!open_.empty()) {
      Json& parent = *open_.back();
      place = parent.is_array() ? &parent.get_ref<Json::array_t&>().emplace_back()
                                : &parent.get_ref<Json::object_t&>().back().second;
    }
    *place = std::move(value);
    if (place->is_structured()) open_.push_back(place);
    if (open_.size() > limits_.depth) throw ValueError("is nested too deeply");
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  void count() {
    if (++parts_ > limits_.parts) throw ValueError("has too many parts");
  }

  const JsonLimits limits_;
  std::size_t parts_ = 0;
  std::vector<Json*> open_;  // the objects and lists whose end has not been reached
};

/// Parses one value in UTF-8. An object keeps a key that is repeated; see repeated_key().
/// Throws: JsonError if the text is not JSON; ValueError with "is nested too deeply" or "has too many parts".
inline Json parse_strict(std::string_view text, const JsonLimits& limits) {
  // The parser would treat a NUL as the end of the text.
  if (const std::size_t nul = text.find('\0'); nul != text.npos)
    throw JsonError("it contains a NUL byte", nul);
  JsonBuilder builder(limits);
  nlohmann::json::sax_parse(text, &builder);
  return std::move(builder.root);
}

/// Returns a key that occurs twice in a sequence of pairs, or null.
template <class Pairs>
const std::string* repeated_key(const Pairs& pairs) {
  std::vector<const std::string*> keys;
  keys.reserve(pairs.size());
  for (const auto& pair : pairs) keys.push_back(&pair.first);
  const auto value_of = [](const std::string* key) -> const std::string& { return *key; };
  std::ranges::sort(keys, {}, value_of);
  const auto twice = std::ranges::adjacent_find(keys, {}, value_of);
  return twice == keys.end() ? nullptr : *twice;
}

}  // namespace retort::detail
