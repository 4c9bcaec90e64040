// Softmax family over rows. Arrays are row-major [outer, classes, inner]; the family runs over `classes`.
// inner == 1 is the hot case. Explicitly instantiated for float and double. All run through parallel_for.
#pragma once

#include <cstdint>

namespace retort::kernels {

/// y = exp(x - max) / sum(exp(x - max)). A row of -inf alone, or one that holds +inf or NaN, gives NaN.
/// x and y may be the same array.
template <class T>
void softmax(const T* x, T* y, std::int64_t outer, std::int64_t classes, std::int64_t inner);

/// y = x - max - log(sum(exp(x - max))). A -inf entry beside a finite one stays -inf.
template <class T>
void log_softmax(const T* x, T* y, std::int64_t outer, std::int64_t classes, std::int64_t inner);

/// dx = y · (g - sum(g · y)), y the softmax. An entry with y = 0 takes no part in the sum and gets 0,
/// whatever g is.
template <class T>
void softmax_backward(const T* y, const T* g, T* dx, std::int64_t outer, std::int64_t classes,
                      std::int64_t inner);

/// dx = g - exp(y) · sum(g), y the log-softmax.
template <class T>
void log_softmax_backward(const T* y, const T* g, T* dx, std::int64_t outer, std::int64_t classes,
                          std::int64_t inner);

/// y [outer, inner] = max + log(sum(exp(x - max))); a slice of -inf alone (or an empty one) gives -inf, one
/// with +inf gives +inf.
template <class T>
void logsumexp(const T* x, T* y, std::int64_t outer, std::int64_t classes, std::int64_t inner);

/// dx = g · exp(x - y), y [outer, inner] the logsumexp; NaN where y is -inf.
template <class T>
void logsumexp_backward(const T* x, const T* y, const T* g, T* dx, std::int64_t outer, std::int64_t classes,
                        std::int64_t inner);

}  // namespace retort::kernels
