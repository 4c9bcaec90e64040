// Rows of examples from any storage.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/framework/base/ref.hpp"
#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Named tensors, in order.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// Rows of a source: input [B, …], target [B, …], and any number of further named tensors.
struct Batch {
  Tensor input = {};         ///< [B, …]
  Tensor target = {};        ///< [B, …]
  NamedTensors others = {};  ///< tensors with names other than "input" and "target"
  /// Row numbers in the source, if a DataLoader made the batch; they seed the draws of random transforms.
  std::vector<std::int64_t> rows = {};
  std::uint64_t key = 0;  ///< a function of the loader's seed and the epoch; it seeds those draws
  /// In a batch of a DataLoader with `.shards`, instead of the tensors: this process's shards, in order. A
  /// shard without rows is an empty batch. `rows` contains the rows of all shards.
  std::vector<Batch> shards = {};

  /// The tensor of that name.
  /// Throws: IndexError listing the names if there is none.
  const Tensor& operator[](std::string_view name) const;
  /// True if the batch has a tensor of that name.
  bool contains(std::string_view name) const;
};

/// The shards of each batch that a process prepares: those numbered begin to end - 1 of `count`.
struct OwnShards {
  std::int64_t count = 0;  ///< 0: batches are not split
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// Makes `auto& [input, target] = batch;` bind these two members.
template <std::size_t I, class B>
  requires std::same_as<std::remove_cvref_t<B>, Batch>
decltype(auto) get(B&& batch) {
  if constexpr (I == 0)
    return (std::forward<B>(batch).input);
  else
    return (std::forward<B>(batch).target);
}

/// A source of examples by row number, such as a Dataset, a file larger than memory, or a user's own class. A
/// DataLoader with workers calls fetch from several threads at the same time.
class RowSource {
 public:
  virtual ~RowSource() = default;
  /// Number of rows.
  virtual std::int64_t size() const = 0;
  /// The rows with those numbers, each in [0, size()), in that order; rows may be repeated.
  virtual Batch fetch(std::span<const std::int64_t> rows) const = 0;
};

namespace detail {

/// Owns a row source, or refers to one that outlives it.
class SourceHandle {
  struct Owner : RefCounted {
    explicit Owner(const RowSource* owned) : source(owned) {}
    ~Owner() { delete source; }
    friend void destroy(Owner* owner) noexcept { delete owner; }
    const RowSource* source;
  };

 public:
  /// Copies a Dataset or RowSubset, which is cheap; refers to any other source.
  SourceHandle(const RowSource& source);  // NOLINT: implicit by design
  /// Takes ownership of a temporary source.
  template <std::derived_from<RowSource> Source>
    requires(!std::is_const_v<Source>)
  SourceHandle(Source&& source) : SourceHandle(new Source(std::move(source))) {}  // NOLINT: the same

  const RowSource& operator*() const { return *source_; }
  const RowSource* operator->() const { return source_; }

 private:
  explicit SourceHandle(const RowSource* owned) : owner_(new Owner(owned)), source_(owned) {}

  Ref<Owner> owner_;
  const RowSource* source_;
};

/// Hashes both numbers, for deriving many seeds from one.
std::uint64_t mix(std::uint64_t a, std::uint64_t b);

/// source.fetch(rows).
/// Throws: ShapeError if a tensor of the result has a different number of rows.
Batch fetch_checked(std::string_view operation, const RowSource& source, std::span<const std::int64_t> rows);
/// The names and shapes of the tensors of a batch, for errors.
std::string shapes_of(const Batch& batch);

}  // namespace detail

/// Selected rows of another source, which must outlive this one unless it is a Dataset, a RowSubset or a
/// temporary.
class RowSubset : public RowSource {
 public:
  /// Throws: IndexError if a row is outside the source.
  RowSubset(detail::SourceHandle source, const std::vector<std::int64_t>& rows);
  std::int64_t size() const override { return rows_.size(); }
  Batch fetch(std::span<const std::int64_t> rows) const override;
  /// For each row, its number in the underlying source.
  std::span<const std::int64_t> rows() const { return rows_.data<std::int64_t>(); }

 private:
  detail::SourceHandle source_;
  Tensor rows_;  // int64
};

/// All rows of a source in one batch: `const rt::Batch all = rt::fetch_all(part);`.
/// Throws: ShapeError if fetch returns a different number of rows.
[[nodiscard]] Batch fetch_all(const RowSource& source);
/// One tensor of all rows of a source, such as the "target" of a part returned by split(), or the "lengths"
/// that length_sampler needs. The rows are fetched in parts, and the other tensors are not kept.
/// Throws: the errors of Batch::operator[]; ShapeError if the parts differ in more than their number of rows,
/// as padded inputs may.
[[nodiscard]] Tensor fetch_all(const RowSource& source, std::string_view name);

/// Randomly splits the rows of a source, for instance into training and validation rows: `auto [train, valid]
/// = split(source, {0.9, 0.1}, seed);`. Each part keeps the order of the source. The rows of each part depend
/// only on the seed, the fractions and the number of rows. Row counts are rounded down; the remaining rows go
/// to the first parts, one each.
/// Throws: ValueError unless the fractions are at least 0 and sum to 1.
[[nodiscard]] std::vector<RowSubset> split(const detail::SourceHandle& source,
                                           const std::vector<double>& fractions, std::uint64_t seed);
template <std::size_t N>
[[nodiscard]] std::array<RowSubset, N> split(const detail::SourceHandle& source, const double (&fractions)[N],
                                             std::uint64_t seed) {
  const std::vector<RowSubset> parts = split(source, std::vector<double>(fractions, fractions + N), seed);
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    return std::array<RowSubset, N>{parts[I]...};
  }(std::make_index_sequence<N>());
}

}  // namespace retort

template <>
struct std::tuple_size<retort::Batch> {
  static constexpr std::size_t value = 2;
};
template <std::size_t I>
struct std::tuple_element<I, retort::Batch> {
  using type = retort::Tensor;
};
