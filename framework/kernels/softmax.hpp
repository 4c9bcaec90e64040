// The softmax family over the n classes of arrays [outer, n, inner]; inner == 1 is the hot case. Explicitly
// instantiated for float and double. All use parallel_for.
#pragma once

#include "retort/framework/kernels/axis.hpp"

namespace retort::kernels {

/// y = exp(x - max) / sum(exp(x - max)). A row of only -inf, or with +inf or NaN, gives NaN. x and y may be
/// the same array.
template <class T>
void softmax(const T* x, T* y, const Axis& axis);

/// y = x - max - log(sum(exp(x - max))). A -inf entry next to a finite one stays -inf.
template <class T>
void log_softmax(const T* x, T* y, const Axis& axis);

/// dx = y · (g - sum(g · y)), where y is the softmax. An entry with y = 0 is excluded from the sum and gets
/// 0, whatever g is.
template <class T>
void softmax_backward(const T* y, const T* g, T* dx, const Axis& axis);

/// dx = g - exp(y) · sum(g), where y is the log-softmax.
template <class T>
void log_softmax_backward(const T* y, const T* g, T* dx, const Axis& axis);

/// y [outer, inner] = max + log(sum(exp(x - max))); a slice of only -inf (or an empty one) gives -inf, one
/// with +inf gives +inf.
template <class T>
void logsumexp(const T* x, T* y, const Axis& axis);

/// dx = g · exp(x - y), where y [outer, inner] is the logsumexp; NaN where y is -inf.
template <class T>
void logsumexp_backward(const T* x, const T* y, const T* g, T* dx, const Axis& axis);

}  // namespace retort::kernels
