#include "retort/framework/core/state_dict.hpp"

#include <algorithm>
#include <functional>
#include <set>

namespace retort {

StateDict::StateDict(const StateDict& other) {
  for (const auto& [name, tensor] : other) append(place_of(name), name, tensor);
}

StateDict::~StateDict() {
  for (const Node* node : by_name_) delete node;
}

void StateDict::swap(StateDict& other) noexcept {
  std::swap(ends_, other.ends_);
  by_name_.swap(other.by_name_);
  for (StateDict* dict : {this, &other}) {
    if (dict->empty()) dict->ends_ = {&dict->ends_, &dict->ends_};
    dict->ends_.next->previous = dict->ends_.previous->next = &dict->ends_;
  }
}

std::size_t StateDict::place_of(std::string_view name) const {
  const auto by_name = [](const Node* node) -> std::string_view { return node->entry.first; };
  return static_cast<std::size_t>(std::ranges::lower_bound(by_name_, name, {}, by_name) - by_name_.begin());
}

bool StateDict::holds(std::size_t place, std::string_view name) const {
  return place < size() && by_name_[place]->entry.first == name;
}

Tensor& StateDict::append(std::size_t place, std::string_view name, const Tensor& tensor) {
  const auto slot = by_name_.insert(by_name_.begin() + static_cast<std::ptrdiff_t>(place), nullptr);
  try {
    *slot = new Node(name, tensor);
  } catch (...) {
    by_name_.erase(slot);
    throw;
  }
  (*slot)->previous = std::exchange(ends_.previous, *slot);
  (*slot)->next = &ends_;
  (*slot)->previous->next = *slot;
  return (*slot)->entry.second;
}

StateDict::iterator StateDict::find(std::string_view name) {
  const std::size_t place = place_of(name);
  return holds(place, name) ? iterator(by_name_[place]) : end();
}

StateDict::const_iterator StateDict::find(std::string_view name) const {
  return const_cast<StateDict&>(*this).find(name);
}

bool StateDict::contains(std::string_view name) const { return holds(place_of(name), name); }

Tensor& StateDict::at(std::string_view name) {
  const auto found = find(name);
  if (found == end())
    throw IndexError(message("state dict: no entry named '{}' among its {} entries", name, size()));
  return found->second;
}

Tensor& StateDict::operator[](std::string_view name) {
  const std::size_t place = place_of(name);
  return holds(place, name) ? by_name_[place]->entry.second : append(place, name, {});
}

bool StateDict::insert(value_type entry) {
  const std::size_t place = place_of(entry.first);
  if (holds(place, entry.first)) return false;
  append(place, entry.first, entry.second);
  return true;
}

std::size_t StateDict::erase(std::string_view name) {
  const std::size_t place = place_of(name);
  if (!holds(place, name)) return 0;
  const Node* const node = by_name_[place];
  by_name_.erase(by_name_.begin() + static_cast<std::ptrdiff_t>(place));
  node->previous->next = node->next;
  node->next->previous = node->previous;
  delete node;
  return 1;
}

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

void detail::check_state(std::string_view what, const StateDict& state,
                         const std::vector<ExpectedEntry>& expected) {
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
    text = message(" all of its names begin with '{}', which must be removed from them", prefix);
  else if (const std::string_view lacking = common_prefix(known, given); !lacking.empty())
    text = message(" its names lack '{}', which all expected names begin with", lacking);
  add("missing", missing);
  add("unexpected", unexpected);
  add("of another shape", misshaped);
  throw ValueError(message("{}: the state dict does not fit;{}", what, text));
}

StateDict::value_type detail::label(std::string_view what, std::string_view own) {
  return {message("{}.{}", what, own), empty({0})};
}

void detail::check_label(std::string_view operation, const StateDict& state, std::string_view what,
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

void detail::copy_values(const Tensor& from, const Tensor& to) {
  const Tensor converted = from.detach().to(to.dtype());
  visit_dtype(to.dtype(),
              [&]<class T>(T) { std::ranges::copy(converted.data<T>(), to.mutable_data<T>().begin()); });
}

}  // namespace retort
