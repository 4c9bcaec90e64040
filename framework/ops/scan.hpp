// Cumulative sums, and products.
#pragma once

#include <cstdint>

#include "retort/framework/core/factories.hpp"
#include "retort/framework/ops/dims.hpp"

namespace [[RETORT_EXPORT]] retort {

/// y[i] = x[0] + … + x[i] along `dim`, for float32 computed in double.
/// Throws: IndexError if `dim` is out of range.
[[nodiscard]] Tensor cumsum(const Tensor& x, std::int64_t dim);

/// The product over `dims`, or over all elements; 1 for an empty tensor. The gradient, g times the product of
/// the other elements, is exact even where elements are 0.
/// Throws: IndexError if a dimension is out of range; ValueError if one appears twice.
[[nodiscard]] Tensor prod(const Tensor& x, Dims dims = {}, bool keepdim = false);

}  // namespace retort
