// Token sequences as rows.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "retort/framework/data/row_source.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Sequences of int64 tokens of unequal lengths, such as the words or bytes of sentences, and further tensors
/// with one row per sequence. Batches are padded at the end to their longest sequence:
///
/// | tensor | content |
/// |---|---|
/// | `batch.input` | int64 (B, L), `padding` after the end of a sequence |
/// | `batch["lengths"]` | int64 (B) |
/// | `batch["mask"]` | int64 (B, L), 1 where there is a token: a `key_mask`, or the `.mask` of a loss |
/// | `batch["positions"]` | int64 (B, L), the number of the token among those of all sequences, or 0 |
///
/// `index_select(table, 0, reshape(positions, {-1}))` selects values computed once per token, such as a
/// teacher's logits. The sampler `length_sampler(data.lengths(), batch_size)` reduces padding.
class SequenceDataset : public RowSource {
 public:
  /// The sequences may be written out: `rt::SequenceDataset data({{5, 3, 8}, {2, 9}});`
  /// Throws: ValueError if a name in `others` is empty, reserved (the three above and "input") or repeated;
  /// ShapeError if a number of rows differs from the number of sequences.
  explicit SequenceDataset(const std::vector<std::vector<std::int64_t>>& sequences,
                           const NamedTensors& others = {}, std::int64_t padding = 0);
  explicit SequenceDataset(std::initializer_list<std::vector<std::int64_t>> sequences,
                           const NamedTensors& others = {}, std::int64_t padding = 0)
      : SequenceDataset(std::vector(sequences), others, padding) {}

  std::int64_t size() const override { return lengths_.size(); }
  Batch fetch(std::span<const std::int64_t> rows) const override;
  /// int64 (N).
  const Tensor& lengths() const { return lengths_; }
  /// A further tensor, such as "target".
  /// Throws: IndexError if there is none of that name.
  const Tensor& operator[](std::string_view name) const;
  /// Total number of tokens.
  std::int64_t tokens() const { return tokens_.size(); }
  /// The sequences of these rows as a new data set.
  /// Throws: IndexError if a row is out of range.
  SequenceDataset subset(std::span<const std::int64_t> rows) const;

 private:
  // The lengths and further tensors of these rows, which are checked.
  Batch select(std::span<const std::int64_t> rows) const;
  std::span<const std::int64_t> sequence(std::int64_t row) const;

  Tensor tokens_ = {};   // of all sequences, concatenated
  Tensor lengths_ = {};  // int64 (N)
  std::vector<std::int64_t> begins_ = {};
  NamedTensors others_ = {};
  std::int64_t padding_;
};

}  // namespace retort
