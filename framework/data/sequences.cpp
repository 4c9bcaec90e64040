#include "retort/framework/data/sequences.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/data/dataset.hpp"

namespace retort {
namespace {

constexpr std::array<std::string_view, 4> reserved{"input", "lengths", "mask", "positions"};

}  // namespace

SequenceDataset::SequenceDataset(const std::vector<std::vector<std::int64_t>>& sequences,
                                 const NamedTensors& others, std::int64_t padding)
    : others_(others), padding_(padding) {
  std::vector<std::int64_t> all, lengths;
  for (const auto& sequence : sequences) {
    begins_.push_back(static_cast<std::int64_t>(all.size()));
    lengths.push_back(static_cast<std::int64_t>(sequence.size()));
    all.insert(all.end(), sequence.begin(), sequence.end());
  }
  tokens_ = tensor(all);
  lengths_ = tensor(lengths);
  for (auto other = others.begin(); other != others.end(); ++other) {
    const auto& [name, tensor] = *other;
    if (std::ranges::find(reserved, name) != reserved.end())
      throw ValueError(message("SequenceDataset: the name '{}' is reserved", name));
    if (name.empty() ||
        std::any_of(others.begin(), other, [&](const auto& one) { return one.first == name; }))
      throw ValueError(message("SequenceDataset: the name '{}' is empty or given twice", name));
    if (!tensor.defined()) throw ValueError(message("SequenceDataset: the tensor '{}' is undefined", name));
    if (tensor.dim() == 0 || tensor.size(0) != size())
      throw ShapeError(message("SequenceDataset: '{}' has {} for {}", name,
                               tensor.dim() == 0 ? "shape ()" : detail::counted(tensor.size(0), "row"),
                               detail::counted(size(), "sequence")));
  }
}

std::span<const std::int64_t> SequenceDataset::sequence(std::int64_t row) const {
  const auto at = static_cast<std::size_t>(row);
  return tokens_.data<std::int64_t>().subspan(static_cast<std::size_t>(begins_[at]),
                                              static_cast<std::size_t>(lengths_.data<std::int64_t>()[at]));
}

const Tensor& SequenceDataset::operator[](std::string_view name) const {
  for (const auto& [other, tensor] : others_)
    if (other == name) return tensor;
  throw IndexError(message("SequenceDataset: no tensor is called '{}'; give it one row per sequence", name));
}

Batch SequenceDataset::select(std::span<const std::int64_t> rows) const {
  for (const std::int64_t row : rows)
    if (row < 0 || row >= size())
      throw IndexError(message("SequenceDataset: row {} is out of range [0, {})", row, size()));
  NamedTensors of_rows = others_;
  of_rows.emplace_back("lengths", lengths_);
  return Dataset(of_rows).rows(rows);
}

Batch SequenceDataset::fetch(std::span<const std::int64_t> rows) const {
  Batch batch = select(rows);
  const auto lengths = batch["lengths"].data<std::int64_t>();
  const std::int64_t longest = lengths.empty() ? 0 : *std::ranges::max_element(lengths);
  const Shape shape{static_cast<std::int64_t>(rows.size()), longest};
  batch.input = full(shape, padding_, DType::int64);
  const Tensor mask = zeros(shape, DType::int64), positions = zeros(shape, DType::int64);
  auto token = batch.input.mutable_data<std::int64_t>().begin();
  auto is_token = mask.mutable_data<std::int64_t>().begin();
  auto position = positions.mutable_data<std::int64_t>().begin();
  for (const std::int64_t row : rows) {
    const auto from = sequence(row);
    const auto count = static_cast<std::ptrdiff_t>(from.size());
    std::ranges::copy(from, token);
    std::fill_n(is_token, count, 1);
    std::iota(position, position + count, begins_[static_cast<std::size_t>(row)]);
    token += longest;
    is_token += longest;
    position += longest;
  }
  batch.others.emplace_back("mask", mask);
  batch.others.emplace_back("positions", positions);
  return batch;
}

SequenceDataset SequenceDataset::subset(std::span<const std::int64_t> rows) const {
  const Batch chosen = select(rows);
  std::vector<std::vector<std::int64_t>> sequences;
  for (const std::int64_t row : rows) {
    const auto from = sequence(row);
    sequences.emplace_back(from.begin(), from.end());
  }
  NamedTensors others;
  for (const auto& [name, unused] : others_) others.emplace_back(name, chosen[name]);
  return SequenceDataset(sequences, others, padding_);
}

}  // namespace retort
