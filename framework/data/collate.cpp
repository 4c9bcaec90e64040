#include <algorithm>
#include <cstring>

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/data/data_loader.hpp"

namespace retort {
namespace {

// Joins tensors [1, L_i, …] along dimension 0, padded to the longest L_i.
Tensor join(std::string_view name, const Tensors& rows, double value) {
  Shape shape = rows.front().shape();
  for (const Tensor& row : rows) {
    Shape same = row.shape();
    if (row.dtype() != rows.front().dtype())
      throw TypeError(message("pad_sequences: '{}' is {} in one row and {} in another", name,
                              rows.front().dtype(), row.dtype()));
    if (same.size() > 1 && same.size() == shape.size()) same[1] = shape[1] = std::max(same[1], shape[1]);
    if (same != shape || shape.size() == 0 || shape[0] != 1)
      throw ShapeError(
          message("pad_sequences: '{}' has shape {} in one row and {} in another; they must be "
                  "[1, L, …] and equal but for L",
                  name, rows.front().shape(), row.shape()));
  }
  shape[0] = static_cast<std::int64_t>(rows.size());
  Array joined = detail::Access::array(full(shape, value, rows.front().dtype()));
  auto* out = static_cast<std::byte*>(joined.write());
  const std::size_t stride = joined.byte_size() / rows.size();
  for (const Tensor& row : rows) {
    const std::size_t bytes = detail::Access::array(row).byte_size();
    if (bytes > 0) std::memcpy(out, detail::Access::array(row).read(), bytes);
    out += stride;
  }
  return detail::Access::make(std::move(joined));
}

}  // namespace

Collate pad_sequences(const PadOptions& options) {
  return [options](const std::vector<Batch>& rows) {
    const auto column = [&](const auto& of) {
      Tensors tensors;
      for (const Batch& row : rows) tensors.push_back(of(row));
      return tensors;
    };
    Batch batch;
    if (rows.front().contains("input")) {
      batch.input = join("input", column([](const Batch& row) { return row["input"]; }), options.value);
      std::vector<std::int64_t> lengths;
      for (const Batch& row : rows) lengths.push_back(row.input.dim() > 1 ? row.input.size(1) : 1);
      batch.others.emplace_back("lengths", tensor(lengths));
    }
    if (rows.front().contains("target"))
      batch.target =
          join("target", column([](const Batch& row) { return row["target"]; }), options.target_value);
    for (const auto& [name, tensor] : rows.front().others)
      batch.others.emplace_back(
          name, join(name, column([&name = name](const Batch& row) { return row[name]; }), options.value));
    return batch;
  };
}

}  // namespace retort
