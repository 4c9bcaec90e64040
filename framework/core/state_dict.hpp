// Named tensors in order, as exchanged by modules, optimisers and weight files.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A map from names to tensors, iterated in insertion order. As in std::map, references and iterators stay
/// valid while other entries are added and removed, names are constant, and a lookup takes logarithmic time.
class StateDict {
  struct Link {
    Link* previous = this;
    Link* next = this;
  };
  struct Node;
  template <class Value>
  class Iterator;

 public:
  using value_type = std::pair<const std::string, Tensor>;
  using iterator = Iterator<value_type>;
  using const_iterator = Iterator<const value_type>;

  StateDict() = default;
  StateDict(std::initializer_list<value_type> entries) {
    for (const value_type& entry : entries) (*this)[entry.first] = entry.second;
  }
  StateDict(const StateDict& other);
  StateDict(StateDict&& other) noexcept { swap(other); }
  /// Replaces all entries.
  StateDict& operator=(StateDict other) noexcept {
    swap(other);
    return *this;
  }
  ~StateDict();

  std::size_t size() const { return by_name_.size(); }
  bool empty() const { return by_name_.empty(); }
  iterator begin();
  iterator end();
  const_iterator begin() const;
  const_iterator end() const;

  iterator find(std::string_view name);
  const_iterator find(std::string_view name) const;
  bool contains(std::string_view name) const;
  std::size_t count(std::string_view name) const { return contains(name) ? 1 : 0; }
  /// The tensor of that name.
  /// Throws: IndexError if there is none.
  Tensor& at(std::string_view name);
  const Tensor& at(std::string_view name) const { return const_cast<StateDict&>(*this).at(name); }
  /// The tensor of that name. Appends an undefined one if there is none.
  Tensor& operator[](std::string_view name);
  /// Appends the entry. Returns false and changes nothing if the name exists already.
  bool insert(value_type entry);
  /// Removes the entry of that name and returns the number of entries removed: 0 or 1.
  std::size_t erase(std::string_view name);
  /// Removes all entries.
  void clear() { *this = {}; }
  void swap(StateDict& other) noexcept;  ///< Exchanges the entries with those of `other`.

 private:
  Tensor& append(std::size_t place, std::string_view name, const Tensor& tensor);
  std::size_t place_of(std::string_view name) const;
  bool holds(std::size_t place, std::string_view name) const;

  Link ends_;                   // links the last entry and the first
  std::vector<Node*> by_name_;  // sorted; owned
};

struct StateDict::Node : Link {
  Node(std::string_view name, const Tensor& tensor) : entry(name, tensor) {}
  value_type entry;
};

template <class Value>
class StateDict::Iterator {
 public:
  using value_type = StateDict::value_type;
  using difference_type = std::ptrdiff_t;
  using pointer = Value*;
  using reference = Value&;
  using iterator_category = std::bidirectional_iterator_tag;

  Iterator() = default;
  Iterator(const Iterator<value_type>& other) : link_(other.link_) {}  // NOLINT: implicit by design
  reference operator*() const { return static_cast<Node*>(link_)->entry; }
  pointer operator->() const { return &**this; }
  Iterator& operator++() { return link_ = link_->next, *this; }
  Iterator& operator--() { return link_ = link_->previous, *this; }
  Iterator operator++(int) { return std::exchange(link_, link_->next); }
  Iterator operator--(int) { return std::exchange(link_, link_->previous); }
  friend bool operator==(const Iterator&, const Iterator&) = default;

 private:
  friend class StateDict;
  template <class>
  friend class Iterator;
  Iterator(Link* link) : link_(link) {}
  Link* link_ = nullptr;
};

inline StateDict::iterator StateDict::begin() { return ends_.next; }
inline StateDict::iterator StateDict::end() { return &ends_; }
inline StateDict::const_iterator StateDict::begin() const { return ends_.next; }
inline StateDict::const_iterator StateDict::end() const { return const_cast<Link*>(&ends_); }

}  // namespace retort
