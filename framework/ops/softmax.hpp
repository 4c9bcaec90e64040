// The softmax family.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// y = exp(x - max) / sum(exp(x - max)) along dim; the error is a few eps relative to y for any offset of x.
/// An entry of -inf gives 0; a slice that holds only -inf, or one with +inf or NaN, gives NaN. `dtype` casts
/// x first. dx = y · (g - sum(g · y)). TypeError for int64 without a dtype.
[[nodiscard]] Tensor softmax(const Tensor& x, std::int64_t dim, std::optional<DType> dtype = {});

/// y = x - max - log(sum(exp(x - max))) along dim. An entry of -inf stays -inf next to a finite one.
/// dx = g - exp(y) · sum(g).
[[nodiscard]] Tensor log_softmax(const Tensor& x, std::int64_t dim, std::optional<DType> dtype = {});

}  // namespace retort
