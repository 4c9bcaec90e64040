// Operations that pick elements by int64 indices. An index out of range is an IndexError that names position
// and value.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// y[i][j][k] = x[i][index[i][j][k]][k] for dim 1, alike for others: index has x's number of dimensions, and
/// outside `dim` no extent larger than x's, or no element at all. dx adds up where an element was picked more
/// than once.
[[nodiscard]] Tensor gather(const Tensor& x, std::int64_t dim, const Tensor& index);

/// Rows of x along `dim` at the positions in a 1-dimensional index.
[[nodiscard]] Tensor index_select(const Tensor& x, std::int64_t dim, const Tensor& index);

/// x with the elements of `source` added: for dim 1, source[i][j][k] to position [i][index[i][j][k]][k],
/// alike for others. All three have the same number of dimensions; no extent of the index is larger than the
/// source's nor, outside `dim`, than x's; one without elements adds nothing. Elements of the source beyond
/// the index are left out and have gradient 0. The inverse of gather.
/// Throws: TypeError for an index that is not int64, ShapeError for shapes that do not fit, IndexError.
[[nodiscard]] Tensor scatter_add(const Tensor& x, std::int64_t dim, const Tensor& index,
                                 const Tensor& source);

/// x with the rows of `source` along `dim` added at the positions in a 1-dimensional index. The source has
/// x's shape but for `dim`, where it has a row per position. The inverse of index_select.
/// Throws: TypeError for an index that is not int64, ShapeError for shapes that do not fit, IndexError.
[[nodiscard]] Tensor index_add(const Tensor& x, std::int64_t dim, const Tensor& index, const Tensor& source);

struct EmbeddingOptions {
  std::optional<std::int64_t> padding_idx =
      std::nullopt;  ///< this row gets no gradient; negative counts from the end
};
/// weight[index] [index's shape, features] for weight [rows, features].
[[nodiscard]] Tensor embedding(const Tensor& index, const Tensor& weight, EmbeddingOptions options = {});

/// int64 0/1 [labels' shape, classes]. ValueError for classes < 1, IndexError for a label outside 0 …
/// classes-1.
[[nodiscard]] Tensor one_hot(const Tensor& labels, std::int64_t classes);

}  // namespace retort
