// Operations that rearrange elements. reshape shares the values, the others copy.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "retort/framework/core/engine_ops.hpp"
#include "retort/framework/core/factories.hpp"
#include "retort/framework/ops/dims.hpp"

namespace [[RETORT_EXPORT]] retort {

/// The same elements in row-major order with another shape; one extent may be -1.
/// Throws: ShapeError if the number of elements differs.
[[nodiscard]] Tensor reshape(const Tensor& x, const Shape& shape);
/// Merges the dimensions from start_dim to end_dim into one. Throws: IndexError if they are out of range.
[[nodiscard]] Tensor flatten(const Tensor& x, std::int64_t start_dim = 0, std::int64_t end_dim = -1);
/// Removes dimension `dim` if its extent is 1; otherwise returns x. Throws: IndexError if out of range.
[[nodiscard]] Tensor squeeze(const Tensor& x, std::int64_t dim);
/// Inserts a dimension of extent 1 at position `dim` of the result. Throws: IndexError if out of range.
[[nodiscard]] Tensor unsqueeze(const Tensor& x, std::int64_t dim);

/// y.shape[i] = x.shape[dims[i]].
/// Throws: ValueError if dims is not a permutation; IndexError if one is out of range.
[[nodiscard]] Tensor permute(const Tensor& x, const Dims& dims);
/// Swaps two dimensions. Throws: IndexError if one is out of range.
[[nodiscard]] Tensor transpose(const Tensor& x, std::int64_t dim0, std::int64_t dim1);

/// Elements start, start + step, … before end along `dim`, as Python's x[start:end:step]: negative positions
/// count from the end, positions out of range are clamped, and absent positions mean the ends.
/// Throws: ValueError if step < 1; IndexError if `dim` is out of range.
[[nodiscard]] Tensor slice(const Tensor& x, std::int64_t dim, std::optional<std::int64_t> start = {},
                           std::optional<std::int64_t> end = {}, std::int64_t step = 1);
/// The elements at position `index` along `dim`; the result lacks `dim`.
/// Throws: IndexError if `dim` or `index` is out of range.
[[nodiscard]] Tensor select(const Tensor& x, std::int64_t dim, std::int64_t index);

/// The slices of x along `dim`, without `dim`: the inverse of stack().
/// Throws: IndexError if `dim` is out of range.
[[nodiscard]] Tensors unbind(const Tensor& x, std::int64_t dim = 0);
/// Splits x along `dim` into parts of extent `size`; the last may be smaller. concat() of the parts is x.
/// Edge cases: an extent of 0 gives one empty part.
/// Throws: ValueError if size < 1 (0 is accepted for an extent of 0); IndexError if `dim` is out of range.
[[nodiscard]] Tensors split(const Tensor& x, std::int64_t size, std::int64_t dim = 0);
/// Splits x along `dim` into parts of the given extents.
/// Throws: ShapeError if they do not add up to x's extent; IndexError if `dim` is out of range.
[[nodiscard]] Tensors split(const Tensor& x, const std::vector<std::int64_t>& sizes, std::int64_t dim = 0);
/// Splits x along `dim` into at most n parts of extent ceil(extent / n); the last may be smaller, and, as in
/// PyTorch, there may be fewer than n.
/// Edge cases: an extent of 0 gives n empty parts.
/// Throws: ValueError if n < 1; IndexError if `dim` is out of range.
[[nodiscard]] Tensors chunk(const Tensor& x, std::int64_t n, std::int64_t dim = 0);

/// Joins the tensors along `dim`. Element types promote.
/// Throws: ShapeError if other extents differ or a tensor has shape (); ValueError if the list is empty.
[[nodiscard]] Tensor concat(const Tensors& xs, std::int64_t dim = 0);
/// Joins tensors of equal shapes along a new dimension. Throws: as concat(); ShapeError for other shapes.
[[nodiscard]] Tensor stack(const Tensors& xs, std::int64_t dim = 0);

}  // namespace retort
