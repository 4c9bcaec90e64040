// Gradient clipping, for use between backward() and step().
#pragma once

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Multiplies all gradients by min(1, max_norm / (norm + 1e-6)) and returns the norm before clipping: (sum
/// |g|^p)^(1/p) over all gradients together, or the largest |g| for p = infinity. Parameters without a
/// gradient are skipped. A NaN norm makes every gradient NaN, as in PyTorch.
/// Throws: ValueError if max_norm is negative or NaN, or norm_type is not positive.
double clip_grad_norm(const Tensors& parameters, double max_norm, double norm_type = 2);

/// Clamps every element of every gradient to [-clip_value, clip_value]; NaN is kept.
/// Throws: ValueError if clip_value is negative or NaN.
void clip_grad_value(const Tensors& parameters, double clip_value);

}  // namespace retort
