// Reductions over the middle dimension of arrays [outer, n, inner]; results are [outer, inner]. Sums are
// accumulated (in blocks, pairwise or in double) with an error below 4 eps·sum|x| for 10^7 terms, in chunks
// that depend only on the sizes. Explicitly instantiated for float and double, and for int64 where stated.
#pragma once

#include "retort/framework/kernels/axis.hpp"

namespace retort::kernels {

/// y = scale · sum(x); an empty sum is 0. Also int64 (scale is ignored).
template <class T>
void sum(const T* x, T* y, const Axis& axis, double scale = 1);

/// y = max(x) or min(x), n >= 1; NaN if any element is NaN. Also int64.
template <class T>
void amax(const T* x, T* y, const Axis& axis);
template <class T>
void amin(const T* x, T* y, const Axis& axis);

/// The position along n of the first maximum or minimum (or of the first NaN), n >= 1. Also int64.
template <class T>
void argmax(const T* x, std::int64_t* y, const Axis& axis);
template <class T>
void argmin(const T* x, std::int64_t* y, const Axis& axis);

/// y = sum((x - mean(x))²) / divisor, in two passes over each row; exactly 0 if all elements are equal,
/// whatever their offset. NaN if n = 0.
template <class T>
void variance(const T* x, T* y, const Axis& axis, double divisor);

/// An array [groups, batch, channels, inner], normalised per group and channel.
struct Channels {
  Index groups = 1;
  Index batch = 1;
  Index channels = 1;
  Index inner = 1;

  Index size() const { return groups * batch * channels * inner; }
};
/// y [groups, channels] = scale · sum over batch and inner.
template <class T>
void sum_channels(const T* x, T* y, const Channels& layout, double scale = 1);

/// y = x - mean(x) with the mean over batch and inner, in double; exactly 0 where all elements are equal.
template <class T>
void centre(const T* x, T* y, const Channels& layout);

/// sum(|x|^p), or max|x| for p = inf, over all n elements, in double: one term of a gradient norm.
template <class T>
double power_sum(const T* x, Index n, double p);

}  // namespace retort::kernels
