#include "retort/framework/base/shape.hpp"

#include <algorithm>
#include <ostream>

#include "retort/framework/base/dtype.hpp"
#include "retort/framework/base/error.hpp"

namespace retort {

std::int64_t Shape::at(std::size_t i) const {
  if (i >= size_) throw IndexError(message("Shape::at: position {} is out of range for shape {}", i, *this));
  return extents_[i];
}

void Shape::too_many_dims() {
  throw ShapeError(message("Shape: a list of more than {} numbers; a tensor has at most {} dimensions",
                           max_dims, max_dims));
}

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  bool overflow = false;
  bool empty = false;
  for (const std::int64_t extent : shape) {
    if (extent < 0) throw ShapeError(message("shape {}: an extent must not be negative", shape));
    empty |= extent == 0;
    overflow |= __builtin_mul_overflow(count, extent, &count);
  }
  if (empty) return 0;
  // 2^56 elements exceed any machine's address space; sizes in bytes must not overflow.
  if (overflow || count > (std::int64_t{1} << 56))
    throw ShapeError(message("shape {}: too many elements", shape));
  return count;
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  text += ')';
  return text;
}

std::ostream& operator<<(std::ostream& stream, DType dtype) { return stream << name(dtype); }

std::ostream& operator<<(std::ostream& stream, const Shape& shape) { return stream << to_string(shape); }

void append_text(std::string& text, const Shape& shape) { text += to_string(shape); }

namespace detail {

bool broadcasts(const Shape& from, const Shape& to) {
  if (from.size() > to.size()) return false;
  for (std::size_t i = 0; i < to.size(); ++i) {
    const std::int64_t extent = extent_at(from, i, to.size());
    if (extent != 1 && extent != to[i]) return false;
  }
  return true;
}

Shape broadcast_shapes(const char* operation, const Shape& a, const Shape& b) {
  if (a == b) return a;
  const std::size_t rank = std::max(a.size(), b.size());
  Shape shape(rank, 1);
  for (std::size_t i = 0; i < rank; ++i) {
    const std::int64_t x = extent_at(a, i, rank);
    const std::int64_t y = extent_at(b, i, rank);
    if (x != y && x != 1 && y != 1)
      throw ShapeError(
          message("{}: shapes {} and {} do not broadcast; extents must be equal or 1, counted from the last "
                  "dimension",
                  operation, a, b));
    shape[i] = x == 1 ? y : x;
  }
  return shape;
}

}  // namespace detail
}  // namespace retort
