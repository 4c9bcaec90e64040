// Examples to learn from.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "retort/framework/core/tensor.hpp"

namespace retort {

/// Some rows of a dataset: input [B, …] and target [B, …].
struct Batch {
  Tensor input = {};
  Tensor target = {};
};

/// Inputs [N, …] and targets [N, …], row i of the one belonging to row i of the other. Copies share the
/// values.
class Dataset {
 public:
  Dataset() = default;
  /// Shares the values, without history. ShapeError when there is no first dimension or the two differ in it.
  Dataset(const Tensor& inputs, const Tensor& targets);

  /// Number of rows N; 0 for a default-constructed dataset.
  std::int64_t size() const { return inputs_.defined() ? inputs_.shape()[0] : 0; }
  bool empty() const { return size() == 0; }
  const Tensor& inputs() const { return inputs_; }
  const Tensor& targets() const { return targets_; }

  /// Copies of the rows at `indices`, in that order; a row may come more than once. IndexError outside 0 …
  /// N-1.
  Batch rows(std::span<const std::int64_t> indices) const;
  Dataset subset(const std::vector<std::int64_t>& indices) const;
  /// A copy of rows begin … end-1. IndexError unless 0 <= begin <= end <= N.
  Dataset slice(std::int64_t begin, std::int64_t end) const;

 private:
  Tensor inputs_;
  Tensor targets_;
};

}  // namespace retort
