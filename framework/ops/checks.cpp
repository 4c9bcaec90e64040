#include "retort/framework/ops/checks.hpp"

#include "retort/framework/ops/dims.hpp"

namespace retort::detail {

std::size_t checked_dim(const char* operation, std::int64_t dim, const Shape& shape) {
  const std::int64_t rank = shape.empty() ? 1 : static_cast<std::int64_t>(shape.size());
  if (dim < -rank || dim >= rank)
    throw IndexError(message("{}: dim {} is out of range for shape {}; it must be between {} and {}",
                             operation, dim, shape, -rank, rank - 1));
  return static_cast<std::size_t>(dim < 0 ? dim + rank : dim);
}

Split split_at(const Shape& shape, std::size_t dim) {
  Split split;
  for (std::size_t i = 0; i < shape.size(); ++i)
    (i < dim ? split.outer : i == dim ? split.n : split.inner) *= shape[i];
  return split;
}

}  // namespace retort::detail
