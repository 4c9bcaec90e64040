// Dropout.
#pragma once

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// In training, multiplies each element by 0 with probability p and otherwise by 1 / (1 - p), using the
/// default generator. Otherwise returns x. NaN stays NaN, and infinities that are dropped become NaN.
/// Throws: ValueError if p is outside [0, 1]; TypeError if x is int64.
/// Source: Srivastava et al., 2014.
[[nodiscard]] Tensor dropout(const Tensor& x, double p = 0.5, bool training = true);

}  // namespace retort
