#include "retort/framework/ops/checks.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace retort::detail {

std::size_t checked_dim(const char* operation, std::int64_t dim, const Shape& shape) {
  const std::int64_t rank = shape.empty() ? 1 : static_cast<std::int64_t>(shape.size());
  if (dim < -rank || dim >= rank)
    throw IndexError(message("{}: dim {} is out of range for shape {}; it must be between {} and {}",
                             operation, dim, shape, -rank, rank - 1));
  return static_cast<std::size_t>(dim < 0 ? dim + rank : dim);
}

std::string position_text(Index element, const Shape& shape) {
  if (shape.size() < 2) return message("{}", element);
  Shape position = shape;
  for (std::size_t d = shape.size(); d-- > 0; element /= shape[d]) position[d] = element % shape[d];
  return message("{}", position);
}

void require_0_or_1(const char* operation, const char* what, const Tensor& mask) {
  const auto values = mask.data<std::int64_t>();
  const auto wrong = std::find_if(values.begin(), values.end(), [](auto value) { return (value & ~1) != 0; });
  if (wrong != values.end())
    throw ValueError(message("{}: {} is {} at position {}; it must be 0 or 1", operation, what, *wrong,
                             position_text(wrong - values.begin(), mask.shape())));
}

kernels::Axis split_at(const Shape& shape, std::size_t dim) {
  kernels::Axis split;
  for (std::size_t i = 0; i < shape.size(); ++i)
    (i < dim ? split.outer : i == dim ? split.n : split.inner) *= shape[i];
  return split;
}

Reduced reduced_dims(const char* operation, const Shape& shape, const Dims& dims) {
  std::array<bool, Shape::max_dims> gone{};
  for (const std::int64_t dim : dims.list()) {
    bool& one = gone[checked_dim(operation, dim, shape)];
    if (one) throw ValueError(message("{}: dim {} appears twice", operation, dim));
    one = true;
  }
  if (dims.all()) gone.fill(true);
  Reduced result;
  std::vector<std::int64_t> front, back;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    result.kept.push_back(gone[d] ? 1 : shape[d]);
    if (!gone[d]) result.squeezed.push_back(shape[d]);
    (gone[d] ? back : front).push_back(static_cast<std::int64_t>(d));
  }
  front.insert(front.end(), back.begin(), back.end());
  result.order = front;
  return result;
}

}  // namespace retort::detail
