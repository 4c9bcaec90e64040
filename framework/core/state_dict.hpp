// Named tensors in order: what modules, optimisers and weight files exchange.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/framework/core/tensor.hpp"

namespace retort {

/// A map from names to tensors that remembers the order of insertion. A lookup walks the entries: a state dict has
/// a few hundred, and is not used where speed counts.
class StateDict {
 public:
  using value_type = std::pair<std::string, Tensor>;
  using iterator = std::vector<value_type>::iterator;
  using const_iterator = std::vector<value_type>::const_iterator;

  StateDict() = default;
  StateDict(std::initializer_list<value_type> entries) {
    for (const value_type& entry : entries) (*this)[entry.first] = entry.second;
  }
  /// Of entries whose names all differ; that is not checked, as looking up each of very many takes long.
  static StateDict from_distinct(std::vector<value_type> entries) {
    StateDict dict;
    dict.entries_ = std::move(entries);
    return dict;
  }

  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  iterator begin() { return entries_.begin(); }
  iterator end() { return entries_.end(); }
  const_iterator begin() const { return entries_.begin(); }
  const_iterator end() const { return entries_.end(); }

  iterator find(std::string_view name);
  const_iterator find(std::string_view name) const;
  bool contains(std::string_view name) const { return find(name) != end(); }
  std::size_t count(std::string_view name) const { return contains(name) ? 1 : 0; }
  /// The tensor of that name. IndexError when there is none.
  Tensor& at(std::string_view name);
  const Tensor& at(std::string_view name) const;
  /// The tensor of that name, made (undefined) at the end when there is none.
  Tensor& operator[](std::string_view name);
  /// Appends; returns false and changes nothing when the name is taken.
  bool insert(value_type entry);
  /// Removes a name; returns how many there were, 0 or 1.
  std::size_t erase(std::string_view name);
  void clear() { entries_.clear(); }

 private:
  std::vector<value_type> entries_;
};

}  // namespace retort
