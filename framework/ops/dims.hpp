// Dimension arguments.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "retort/framework/base/shape.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Dimensions: one integer, a brace list, or in a reduction `{}` for all. Negative dimensions count from the
/// end.
class Dims {
 public:
  Dims() = default;
  Dims(int dim) : dims_{dim} {}           // NOLINT: implicit by design
  Dims(std::int64_t dim) : dims_{dim} {}  // NOLINT: implicit by design
  Dims(std::initializer_list<std::int64_t> dims) : dims_(dims) {}
  Dims(const std::vector<std::int64_t>& dims) : dims_(dims) {}  // NOLINT: implicit by design

  /// True for `{}`.
  bool all() const { return dims_.size() == 0; }
  /// The dimensions as given.
  const Shape& list() const { return dims_; }

 private:
  Shape dims_;  // a short list of integers
};

namespace detail {
/// Returns `dim` counted from the front. A 0-dim tensor accepts 0 and -1.
/// Throws: IndexError naming operation, dim and shape.
std::size_t checked_dim(const char* operation, std::int64_t dim, const Shape& shape);
}  // namespace detail

}  // namespace retort
