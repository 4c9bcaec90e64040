// Bounds on gradients, to be set between backward() and step().
#pragma once

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Multiplies all gradients by min(1, max_norm / (norm + 1e-6)), where norm = (sum |g|^p)^(1/p) over all of
/// them together, the largest |g| for p = infinity, and returns the norm as it was. Parameters without a
/// gradient take no part. A NaN norm makes every gradient NaN, as in PyTorch: nothing is hidden. ValueError
/// for a max_norm that is negative or NaN, and for a norm_type that isn't positive.
double clip_grad_norm(const Tensors& parameters, double max_norm, double norm_type = 2);

/// Limits every element of every gradient to [-clip_value, clip_value]; NaN stays. ValueError for a
/// clip_value that is negative or NaN.
void clip_grad_value(const Tensors& parameters, double clip_value);

}  // namespace retort
