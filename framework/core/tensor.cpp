#include "retort/framework/core/tensor.hpp"

namespace retort {

void Tensor::undefined() {
  throw ValueError(
      "tensor: this tensor is undefined (default-constructed, or a gradient that was never computed)");
}

std::int64_t Tensor::size(std::int64_t d) const {
  const std::int64_t count = dim();
  if (d < -count || d >= count)
    throw IndexError(message("size: dimension {} is out of range for shape {}", d, shape()));
  return shape()[static_cast<std::size_t>(d < 0 ? d + count : d)];
}

void Tensor::check_single_element() const {
  if (size() != 1)
    throw ShapeError(
        message("item: shape {} has {} elements, not one; use values(), or reduce it", shape(), size()));
}

Tensor Tensor::detach() const { return detail::Access::make(array()); }

}  // namespace retort
