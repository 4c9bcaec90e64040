// Operations that move elements without changing them. reshape shares the values, the others copy.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "retort/framework/core/engine_ops.hpp"
#include "retort/framework/core/factories.hpp"
#include "retort/framework/ops/dims.hpp"

namespace [[RETORT_EXPORT]] retort {

/// The same elements in row-major order under another shape; one extent may be -1. ShapeError when it does
/// not fit.
[[nodiscard]] Tensor reshape(const Tensor& x, const Shape& shape);
/// Joins the dimensions from start_dim to end_dim into one.
[[nodiscard]] Tensor flatten(const Tensor& x, std::int64_t start_dim = 0, std::int64_t end_dim = -1);
[[nodiscard]] Tensor squeeze(const Tensor& x, std::int64_t dim);
[[nodiscard]] Tensor unsqueeze(const Tensor& x, std::int64_t dim);

/// y.shape[i] = x.shape[dims[i]]. ValueError when dims is no permutation.
[[nodiscard]] Tensor permute(const Tensor& x, const Dims& dims);
/// Two dimensions swapped.
[[nodiscard]] Tensor transpose(const Tensor& x, std::int64_t dim0, std::int64_t dim1);

/// Elements start, start + step, … below end along `dim`, as Python's x[start:end:step]: negative positions
/// count from the end, positions past an end are clipped, absent ones mean the ends. ValueError for step < 1.
[[nodiscard]] Tensor slice(const Tensor& x, std::int64_t dim, std::optional<std::int64_t> start = {},
                           std::optional<std::int64_t> end = {}, std::int64_t step = 1);
/// Position `index` along `dim`, which disappears. IndexError out of range.
[[nodiscard]] Tensor select(const Tensor& x, std::int64_t dim, std::int64_t index);

/// The positions of x along `dim`, which disappears: the inverse of stack().
/// Throws: IndexError for a `dim` that x does not have.
[[nodiscard]] Tensors unbind(const Tensor& x, std::int64_t dim = 0);
/// x cut along `dim` into parts of extent `size`; the last may be smaller. concat() of the parts is x.
/// Edge cases: an extent of 0 gives one empty part.
/// Throws: ValueError for size < 1 (0 is accepted for an extent of 0); IndexError for a `dim` that x does not
/// have.
[[nodiscard]] Tensors split(const Tensor& x, std::int64_t size, std::int64_t dim = 0);
/// x cut along `dim` into parts of these extents.
/// Throws: ShapeError if they do not add up to x's extent; IndexError for a `dim` that x does not have.
[[nodiscard]] Tensors split(const Tensor& x, const std::vector<std::int64_t>& sizes, std::int64_t dim = 0);
/// x cut along `dim` into at most n parts of extent ceil(extent / n); the last may be smaller. There are
/// fewer than n parts where the extent is used up before, as in PyTorch.
/// Edge cases: an extent of 0 gives n empty parts.
/// Throws: ValueError for n < 1; IndexError for a `dim` that x does not have.
[[nodiscard]] Tensors chunk(const Tensor& x, std::int64_t n, std::int64_t dim = 0);

/// The tensors one after another along `dim`. All other extents must agree (ShapeError); float types promote.
[[nodiscard]] Tensor concat(const Tensors& xs, std::int64_t dim = 0);
/// The tensors along a new dimension.
[[nodiscard]] Tensor stack(const Tensors& xs, std::int64_t dim = 0);

}  // namespace retort
