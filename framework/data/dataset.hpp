// Examples in memory.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/framework/core/factories.hpp"
#include "retort/framework/core/tensor.hpp"
#include "retort/framework/data/row_source.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Inputs [N, …], targets [N, …], and any number of further named tensors [N, …], which share their row
/// numbers. Copies share the values.
class Dataset : public RowSource {
 public:
  Dataset() = default;
  /// Shares the values, without history.
  /// Throws: ShapeError if a tensor has shape () or the first dimensions differ.
  Dataset(const Tensor& inputs, const Tensor& targets);
  /// As above, for named tensors: `Dataset({{"input", x}, {"target", y}, {"mask", m}})`. The names "input"
  /// and "target" become inputs() and targets(), which are otherwise undefined.
  /// Throws: ValueError if a name is empty or given twice.
  Dataset(std::initializer_list<std::pair<std::string, Tensor>> tensors);
  explicit Dataset(const NamedTensors& tensors);

  /// Number of rows N; 0 for a default-constructed dataset.
  std::int64_t size() const override { return size_; }
  bool empty() const { return size() == 0; }
  /// The inputs [N, …].
  const Tensor& inputs() const { return all_.input; }
  /// The targets [N, …].
  const Tensor& targets() const { return all_.target; }
  /// The tensor of that name.
  /// Throws: IndexError if there is none.
  const Tensor& operator[](std::string_view name) const { return all_[name]; }

  /// Copies of the rows at `indices`, in that order; rows may be repeated.
  /// Throws: IndexError if an index is outside 0 … N-1.
  Batch rows(std::span<const std::int64_t> indices) const;
  /// As rows(), for loaders.
  Batch fetch(std::span<const std::int64_t> rows) const override { return this->rows(rows); }
  /// A dataset of copies of the rows at `indices`, in that order.
  /// Throws: IndexError if an index is outside 0 … N-1.
  Dataset subset(const std::vector<std::int64_t>& indices) const;
  /// A copy of rows begin … end-1.
  /// Throws: IndexError unless 0 <= begin <= end <= N.
  Dataset slice(std::int64_t begin, std::int64_t end) const;

 private:
  Batch all_;
  std::int64_t size_ = 0;
};

}  // namespace retort
