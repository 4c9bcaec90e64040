// Matrix products.
#pragma once

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// a · b as NumPy has it: [m, k]·[k, n], vectors at either side, leading dimensions as batches that
/// broadcast. ShapeError when the inner extents differ; TypeError for int64.
[[nodiscard]] Tensor matmul(const Tensor& a, const Tensor& b);

/// y [..., out] = x [..., in] · weight [out, in]ᵀ + bias [out]; an undefined bias is none.
[[nodiscard]] Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

}  // namespace retort
