#include "retort/framework/core/state_dict.hpp"

#include <algorithm>

#include "retort/framework/base/counted.hpp"

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
    throw IndexError(message("state dict: no entry is named '{}'; the dictionary has {}", name,
                             detail::counted(size(), "entry")));
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

}  // namespace retort
