// Operations that pick elements by int64 indices. An index out of range is an IndexError that names position and value.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/tensor.hpp"

namespace retort {

/// y[i][j][k] = x[i][index[i][j][k]][k] for dim 1, alike for others: index has x's number of dimensions, and outside
/// `dim` no extent larger than x's. dx adds up where an element was picked more than once.
Tensor gather(const Tensor& x, std::int64_t dim, const Tensor& index);

/// Rows of x along `dim` at the positions in a 1-dimensional index.
Tensor index_select(const Tensor& x, std::int64_t dim, const Tensor& index);

struct EmbeddingOptions {
  std::optional<std::int64_t> padding_idx =
      std::nullopt;  ///< this row gets no gradient; negative counts from the end
};
/// weight[index] [index's shape, features] for weight [rows, features].
Tensor embedding(const Tensor& index, const Tensor& weight, EmbeddingOptions options = {});

/// int64 0/1 [labels' shape, classes]. ValueError for classes < 1, IndexError for a label outside 0 … classes-1.
Tensor one_hot(const Tensor& labels, std::int64_t classes);

}  // namespace retort
