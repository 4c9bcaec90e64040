// The extents of a tensor.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <string>
#include <vector>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

/// The extents of a row-major array, used like a std::vector<std::int64_t>: `Shape{2, 3}`; a scalar has
/// `Shape{}`. The extents are stored in the object itself, so no allocation is needed. Streams as `()`,
/// `(3)`, `(2, 3)`.
/// Throws: ShapeError if there are more than `max_dims` dimensions.
class Shape {
 public:
  /// The largest number of dimensions.
  static constexpr std::size_t max_dims = 8;
  using value_type = std::int64_t;
  using iterator = std::int64_t*;
  using const_iterator = const std::int64_t*;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents) : Shape(extents.begin(), extents.end()) {}
  Shape(const std::vector<std::int64_t>& extents) : Shape(extents.data(), extents.data() + extents.size()) {}
  Shape(std::size_t count, std::int64_t extent) { resize(count, extent); }
  /// The extents first … last - 1.
  template <class Iterator>
    requires(!std::is_arithmetic_v<Iterator>)
  Shape(Iterator first, Iterator last) {
    for (; first != last; ++first) push_back(*first);
  }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::int64_t& operator[](std::size_t i) { return extents_[i]; }
  std::int64_t operator[](std::size_t i) const { return extents_[i]; }
  std::int64_t at(std::size_t i) const;
  std::int64_t& front() { return extents_[0]; }
  std::int64_t front() const { return extents_[0]; }
  std::int64_t& back() { return extents_[size_ - 1]; }
  std::int64_t back() const { return extents_[size_ - 1]; }
  const std::int64_t* data() const { return extents_.data(); }
  std::int64_t* data() { return extents_.data(); }
  iterator begin() { return extents_.data(); }
  iterator end() { return extents_.data() + size_; }
  const_iterator begin() const { return extents_.data(); }
  const_iterator end() const { return extents_.data() + size_; }

  void push_back(std::int64_t extent) {
    if (size_ == max_dims) too_many_dims();
    extents_[size_++] = extent;
  }
  void pop_back() { --size_; }
  void clear() { size_ = 0; }
  void resize(std::size_t count, std::int64_t extent = 0) {
    if (count > max_dims) too_many_dims();
    for (std::size_t i = size_; i < count; ++i) extents_[i] = extent;
    size_ = static_cast<std::uint32_t>(count);
  }
  iterator insert(const_iterator position, std::int64_t extent) {
    const auto at = static_cast<std::size_t>(position - begin());
    push_back(extent);
    for (std::size_t i = size_ - 1; i > at; --i) extents_[i] = extents_[i - 1];
    extents_[at] = extent;
    return begin() + at;
  }
  iterator erase(const_iterator position) {
    const auto at = static_cast<std::size_t>(position - begin());
    for (std::size_t i = at + 1; i < size_; ++i) extents_[i - 1] = extents_[i];
    --size_;
    return begin() + at;
  }

  friend bool operator==(const Shape& a, const Shape& b) {
    if (a.size_ != b.size_) return false;
    for (std::size_t i = 0; i < a.size_; ++i)
      if (a.extents_[i] != b.extents_[i]) return false;
    return true;
  }

 private:
  [[noreturn]] static void too_many_dims();

  std::array<std::int64_t, max_dims> extents_;  // only the first size_ are meaningful
  std::uint32_t size_ = 0;
};

/// The number of elements of an array: the product of the extents, 1 for a scalar.
/// Throws: ShapeError if an extent is negative or the product does not fit.
std::int64_t element_count(const Shape& shape);

/// The shape as text, `(2, 3)`.
std::string to_string(const Shape& shape);
/// Appends to_string(shape), for message().
void append_text(std::string& text, const Shape& shape);
/// Prints to_string(shape).
std::ostream& operator<<(std::ostream& stream, const Shape& shape);

namespace detail {
/// Extent i of `shape` padded with leading ones to `rank` dimensions.
inline std::int64_t extent_at(const Shape& shape, std::size_t i, std::size_t rank) {
  const std::size_t missing = rank - shape.size();
  return i < missing ? 1 : shape[i - missing];
}
/// True if an array of shape `from` broadcasts to shape `to`.
bool broadcasts(const Shape& from, const Shape& to);
/// Returns the shape that a and b broadcast to, by NumPy's rules.
/// Throws: ShapeError naming `operation` and both shapes.
Shape broadcast_shapes(const char* operation, const Shape& a, const Shape& b);
}  // namespace detail

}  // namespace retort
