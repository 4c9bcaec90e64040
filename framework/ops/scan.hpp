// Running sums, and products.
#pragma once

#include <cstdint>

#include "retort/framework/core/factories.hpp"
#include "retort/framework/ops/dims.hpp"

namespace [[RETORT_EXPORT]] retort {

/// y[i] = x[0] + … + x[i] along `dim`. float32 is summed in double.
/// Throws: IndexError for a dimension out of range.
[[nodiscard]] Tensor cumsum(const Tensor& x, std::int64_t dim);

/// The product over `dims`, or over everything. An empty product is 1. The gradient, g times the product of
/// the other elements, is exact where elements are 0.
/// Throws: IndexError for a dimension out of range, ValueError for one named twice.
[[nodiscard]] Tensor prod(const Tensor& x, Dims dims = {}, bool keepdim = false);

}  // namespace retort
