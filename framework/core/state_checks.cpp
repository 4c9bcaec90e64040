#include "retort/framework/core/state_checks.hpp"

#include <algorithm>
#include <set>

namespace retort::detail {
namespace {

using Names = std::set<std::string_view>;

// The prefix of the first name, such as "module.", whose removal gives a name in `known`; empty unless all
// names start with it.
std::string_view common_prefix(const Names& names, const Names& known) {
  for (const std::string_view name : names)
    for (std::size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1))
      if (known.contains(name.substr(dot + 1))) {
        const std::string_view prefix = name.substr(0, dot + 1);
        return std::ranges::all_of(names, [&](auto other) { return other.starts_with(prefix); }) ? prefix
                                                                                                 : "";
      }
  return "";
}

}  // namespace

void check_state(std::string_view what, const StateDict& state, const std::vector<ExpectedEntry>& expected) {
  std::string missing, misshaped, unexpected;
  const auto list = [](std::string& text, const std::string& item) {
    text += text.empty() ? item : ", " + item;
  };
  Names known, given;
  for (const ExpectedEntry& entry : expected) {
    known.insert(entry.name);
    const auto found = state.find(entry.name);
    if (found == state.end()) {
      list(missing, entry.name);
    } else if (!found->second.defined()) {
      list(misshaped, message("{} is undefined, not {}", entry.name, entry.shape));
    } else if (const Shape& shape = found->second.shape();
               shape != entry.shape && !(entry.may_be_empty && shape == Shape{0})) {
      list(misshaped, message("{} has shape {}, not {}", entry.name, shape, entry.shape));
    }
  }
  for (const auto& [name, tensor] : state) {
    given.insert(name);
    if (!known.contains(name)) list(unexpected, name);
  }
  if (missing.empty() && misshaped.empty() && unexpected.empty()) return;

  std::string text;
  const auto add = [&text](const char* kind, std::string_view names) {
    if (!names.empty()) text += message("{}{}: {}", text.empty() ? " " : "; ", kind, names);
  };
  if (const std::string_view prefix = common_prefix(given, known); !prefix.empty())
    text = message(
        " all of its names begin with '{}', which must be removed (load() has the option .strip_prefix)",
        prefix);
  else if (const std::string_view lacking = common_prefix(known, given); !lacking.empty())
    text = message(" its names lack '{}', which all expected names begin with", lacking);
  add("missing", missing);
  add("unexpected", unexpected);
  add("of another shape", misshaped);
  throw ValueError(message("{}: the state dict does not fit;{}", what, text));
}

StateDict::value_type label(std::string_view what, std::string_view own) {
  return {message("{}.{}", what, own), empty({0})};
}

void check_label(std::string_view operation, const StateDict& state, std::string_view what,
                 std::string_view own, std::vector<ExpectedEntry>& expected) {
  const std::string start = message("{}.", what);
  for (const auto& [name, tensor] : state) {
    if (!name.starts_with(start)) continue;
    const std::string given = name.substr(start.size());
    if (given != own)
      throw ValueError(
          message("{}: the state is that of the {} {}, but this one is {}", operation, what, given, own));
    expected.push_back({name, {0}});
  }
}

void copy_values(const Tensor& from, const Tensor& to) {
  const Tensor converted = from.detach().to(to.dtype());
  visit_dtype(to.dtype(),
              [&]<class T>(T) { std::ranges::copy(converted.data<T>(), to.mutable_data<T>().begin()); });
}

}  // namespace retort::detail
