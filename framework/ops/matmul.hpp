// Matrix products.
#pragma once

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// The matrix product by NumPy's rules: [m, k]·[k, n], vectors on either side, and leading dimensions as
/// batches that broadcast.
/// Throws: ShapeError if the inner extents differ; TypeError if an input is int64.
[[nodiscard]] Tensor matmul(const Tensor& a, const Tensor& b);

/// y [..., out] = x [..., in] · weight [out, in]ᵀ + bias [out] (or undefined). Throws: as matmul().
[[nodiscard]] Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

}  // namespace retort
