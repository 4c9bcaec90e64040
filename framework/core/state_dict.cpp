#include "retort/framework/core/state_dict.hpp"

#include <algorithm>

namespace retort {

StateDict::iterator StateDict::find(std::string_view name) {
  return std::find_if(begin(), end(), [&](const value_type& entry) { return entry.first == name; });
}

StateDict::const_iterator StateDict::find(std::string_view name) const {
  return std::find_if(begin(), end(), [&](const value_type& entry) { return entry.first == name; });
}

Tensor& StateDict::at(std::string_view name) { return const_cast<Tensor&>(std::as_const(*this).at(name)); }

const Tensor& StateDict::at(std::string_view name) const {
  const auto found = find(name);
  if (found == end())
    throw IndexError(message("state dict: no entry named '{}' among its {} entries", name, size()));
  return found->second;
}

Tensor& StateDict::operator[](std::string_view name) {
  const auto found = find(name);
  if (found != end()) return found->second;
  entries_.emplace_back(std::string(name), Tensor());
  return entries_.back().second;
}

bool StateDict::insert(value_type entry) {
  if (contains(entry.first)) return false;
  entries_.push_back(std::move(entry));
  return true;
}

std::size_t StateDict::erase(std::string_view name) {
  const auto found = find(name);
  if (found == end()) return 0;
  entries_.erase(found);
  return 1;
}

}  // namespace retort
