#include "retort/framework/data/dataset.hpp"

#include <algorithm>
#include <cstring>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/core/require.hpp"

namespace retort {
namespace {

// Copies rows of `from`; adjacent rows are copied together.
Tensor gather_rows(const Tensor& from, std::span<const std::int64_t> indices) {
  Shape shape = from.shape();
  const std::int64_t rows = shape[0];
  shape[0] = static_cast<std::int64_t>(indices.size());
  Array array(shape, from.dtype());
  const std::size_t row =
      rows == 0 ? 0 : detail::Access::array(from).byte_size() / static_cast<std::size_t>(rows);
  if (row == 0) return detail::Access::make(std::move(array));
  const auto* source = static_cast<const std::byte*>(detail::Access::array(from).read());
  auto* out = static_cast<std::byte*>(array.write());
  for (std::size_t i = 0; i < indices.size();) {
    std::size_t run = 1;
    while (i + run < indices.size() && indices[i + run] == indices[i] + static_cast<std::int64_t>(run)) ++run;
    std::memcpy(out + i * row, source + static_cast<std::size_t>(indices[i]) * row, run * row);
    i += run;
  }
  return detail::Access::make(std::move(array));
}

}  // namespace

Dataset::Dataset(const Tensor& inputs, const Tensor& targets) {
  detail::require_defined("Dataset", "the tensor of inputs", inputs);
  detail::require_defined("Dataset", "the tensor of targets", targets);
  if (inputs.dim() == 0 || targets.dim() == 0 || inputs.shape()[0] != targets.shape()[0])
    throw ShapeError(
        message("Dataset: inputs have shape {} and targets {}; their first dimensions, the number of "
                "examples, must be equal",
                inputs.shape(), targets.shape()));
  all_ = {.input = inputs.detach(), .target = targets.detach()};
  size_ = inputs.shape()[0];
}

Dataset::Dataset(std::initializer_list<std::pair<std::string, Tensor>> tensors)
    : Dataset(NamedTensors(tensors)) {}

Dataset::Dataset(const NamedTensors& tensors) {
  for (const auto& [name, tensor] : tensors) {
    if (name.empty() || all_.contains(name))
      throw ValueError(message("Dataset: the name '{}' is empty or given twice", name));
    if (!tensor.defined()) throw ValueError(message("Dataset: the tensor '{}' is undefined", name));
    const std::int64_t rows = tensor.dim() == 0 ? -1 : tensor.shape()[0];
    if (rows < 0 || (&name != &tensors.front().first && rows != size_))
      throw ShapeError(
          message("Dataset: '{}' has shape {}, but '{}' {}; their first dimensions, the number of "
                  "examples, must be equal",
                  name, tensor.shape(), tensors.front().first, tensors.front().second.shape()));
    size_ = rows;
    if (name == "input") {
      all_.input = tensor.detach();
    } else if (name == "target") {
      all_.target = tensor.detach();
    } else {
      all_.others.emplace_back(name, tensor.detach());
    }
  }
}

Batch Dataset::rows(std::span<const std::int64_t> indices) const {
  for (const std::int64_t index : indices)
    if (index < 0 || index >= size())
      throw IndexError(message("Dataset: row {} is out of range [0, {})", index, size()));
  Batch batch;
  if (all_.input.defined()) batch.input = gather_rows(all_.input, indices);
  if (all_.target.defined()) batch.target = gather_rows(all_.target, indices);
  for (const auto& [name, tensor] : all_.others)
    batch.others.emplace_back(name, gather_rows(tensor, indices));
  return batch;
}

Dataset Dataset::subset(const std::vector<std::int64_t>& indices) const {
  Dataset chosen;
  chosen.all_ = rows(indices);
  chosen.size_ = static_cast<std::int64_t>(indices.size());
  return chosen;
}

Dataset Dataset::slice(std::int64_t begin, std::int64_t end) const {
  if (begin < 0 || end < begin || end > size())
    throw IndexError(
        message("Dataset::slice: begin is {} and end {}; it must be that 0 <= begin <= end <= {}", begin, end,
                size()));
  std::vector<std::int64_t> indices(static_cast<std::size_t>(end - begin));
  for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = begin + static_cast<std::int64_t>(i);
  return subset(indices);
}

}  // namespace retort
