// Shared parts of variances and normalisations. Internal.
#pragma once

#include "retort/framework/core/tensor.hpp"
#include "retort/framework/kernels/reduce.hpp"

namespace retort::detail {

/// x minus its mean per group and channel, computed in double; exactly 0 where all elements are equal.
[[nodiscard]] Tensor centred(const Tensor& x, const kernels::Channels& layout);

}  // namespace retort::detail
