// Operations that move elements without changing them. reshape shares the values, the others copy.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "retort/framework/core/engine_ops.hpp"
#include "retort/framework/core/tensor.hpp"
#include "retort/framework/ops/dims.hpp"

namespace retort {

/// The same elements in row-major order under another shape; one extent may be -1. ShapeError when it does not fit.
Tensor reshape(const Tensor& x, const Shape& shape);
/// Joins the dimensions from start_dim to end_dim into one.
Tensor flatten(const Tensor& x, std::int64_t start_dim = 0, std::int64_t end_dim = -1);
Tensor squeeze(const Tensor& x, std::int64_t dim);
Tensor unsqueeze(const Tensor& x, std::int64_t dim);

/// y.shape[i] = x.shape[dims[i]]. ValueError when dims is no permutation.
Tensor permute(const Tensor& x, const Dims& dims);
/// Two dimensions swapped.
Tensor transpose(const Tensor& x, std::int64_t dim0, std::int64_t dim1);

/// Elements start, start + step, … below end along `dim`, as Python's x[start:end:step]: negative positions count from
/// the end, positions past an end are clipped, absent ones mean the ends. ValueError for step < 1.
Tensor slice(const Tensor& x, std::int64_t dim, std::optional<std::int64_t> start = {},
             std::optional<std::int64_t> end = {}, std::int64_t step = 1);
/// Position `index` along `dim`, which disappears. IndexError out of range.
Tensor select(const Tensor& x, std::int64_t dim, std::int64_t index);

/// The tensors one after another along `dim`. All other extents must agree (ShapeError); float types promote.
Tensor concat(const Tensors& xs, std::int64_t dim = 0);
/// The tensors along a new dimension.
Tensor stack(const Tensors& xs, std::int64_t dim = 0);

}  // namespace retort
