// Operations that select elements by int64 indices. All throw TypeError for other indices, ShapeError if
// shapes do not fit, and IndexError naming position and value if an index is out of range.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// y[i][j][k] = x[i][index[i][j][k]][k] for dim 1, and correspondingly for other dims. The gradients of
/// elements selected more than once are summed.
/// Shapes: index has x's number of dimensions and, outside `dim`, no extent larger than x's; or it is empty.
/// Throws: TypeError if the index is not int64; ShapeError if shapes do not fit; IndexError if an index is
/// out of range.
[[nodiscard]] Tensor gather(const Tensor& x, std::int64_t dim, const Tensor& index);

/// The rows of x along `dim` at the positions in a 1-dimensional index. Throws: as gather().
[[nodiscard]] Tensor index_select(const Tensor& x, std::int64_t dim, const Tensor& index);

/// Returns x plus the elements of `source`: for dim 1, source[i][j][k] at [i][index[i][j][k]][k], and
/// correspondingly for other dims. The adjoint of gather.
/// Shapes: all three have the same number of dimensions. No extent of the index is larger than the source's
/// or, outside `dim`, than x's.
/// Edge cases: an empty index adds nothing. Elements of the source beyond the index are ignored and have
/// gradient 0.
/// Throws: as gather().
[[nodiscard]] Tensor scatter_add(const Tensor& x, std::int64_t dim, const Tensor& index,
                                 const Tensor& source);

/// Returns x plus the rows of `source` along `dim` at the positions in a 1-dimensional index. The adjoint of
/// index_select.
/// Shapes: source has x's shape except in `dim`, where it has one row per position.
/// Throws: as gather().
[[nodiscard]] Tensor index_add(const Tensor& x, std::int64_t dim, const Tensor& index, const Tensor& source);

struct EmbeddingOptions {
  std::optional<std::int64_t> padding_idx =
      std::nullopt;  ///< this row gets no gradient; a negative index counts from the end
};
/// weight[index] [shape of index, features] for weight [rows, features]. Throws: as gather().
[[nodiscard]] Tensor embedding(const Tensor& index, const Tensor& weight, EmbeddingOptions options = {});

/// int64 [shape of labels, classes]: 1 at the label's class, otherwise 0.
/// Throws: TypeError unless labels are int64; ValueError if classes < 1; IndexError for a label out of range.
[[nodiscard]] Tensor one_hot(const Tensor& labels, std::int64_t classes);

}  // namespace retort
