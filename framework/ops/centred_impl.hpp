// The parts that variances and normalisations share. Internal.
#pragma once

#include "retort/framework/core/tensor.hpp"
#include "retort/framework/kernels/reduce.hpp"

namespace retort::detail {

/// x less its mean, which is taken in double by group and channel; exactly 0 where all elements are equal.
[[nodiscard]] Tensor centred(const Tensor& x, const kernels::Channels& layout);

}  // namespace retort::detail
