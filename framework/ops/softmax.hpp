// The softmax family.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// y = exp(x - max) / sum(exp(x - max)) along dim; dx = y · (g - sum(g · y)). `dtype` converts x first. The
/// relative error of y is below (4 + (max - x)/2) eps, unless y is subnormal, for any offset and length of x.
/// Edge cases: an entry of -inf gives 0; a slice with only -inf, or with +inf or NaN, gives NaN.
/// Throws: TypeError if x is int64 and no dtype is given.
[[nodiscard]] Tensor softmax(const Tensor& x, std::int64_t dim, std::optional<DType> dtype = {});

/// y = x - max - log(sum(exp(x - max))) along dim; dx = g - exp(y) · sum(g). An entry of -inf stays -inf next
/// to a finite one. The error is below 4 eps · max(1, |y|). Edge cases and errors as for softmax().
[[nodiscard]] Tensor log_softmax(const Tensor& x, std::int64_t dim, std::optional<DType> dtype = {});

}  // namespace retort
