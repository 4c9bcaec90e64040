// Dropout.
#pragma once

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// In training each element is 0 with probability p and x / (1 - p) otherwise, drawn from the default
/// generator; x itself otherwise. p = 1 gives zeros. ValueError for p outside [0, 1]. (Srivastava et al.,
/// 2014)
[[nodiscard]] Tensor dropout(const Tensor& x, double p = 0.5, bool training = true);

}  // namespace retort
