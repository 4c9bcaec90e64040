// Reductions. Arrays are row-major [outer, n, inner]; the reduction runs over n and gives [outer, inner].
// Sums are accumulated so that the error stays below 4 eps·sum|x| for 10^7 terms (blocks, pairwise or
// double), in chunks that depend on the sizes alone. Explicitly instantiated for float and double, where
// marked int64 too.
#pragma once

#include <cstdint>

namespace retort::kernels {

/// y = scale · sum(x); of nothing 0. Also int64 (scale is ignored).
template <class T>
void sum(const T* x, T* y, std::int64_t outer, std::int64_t n, std::int64_t inner, double scale = 1);

/// y = max(x) (n >= 1); NaN if any is NaN. Also int64.
template <class T>
void amax(const T* x, T* y, std::int64_t outer, std::int64_t n, std::int64_t inner);
template <class T>
void amin(const T* x, T* y, std::int64_t outer, std::int64_t n, std::int64_t inner);

/// Position along n of the first maximum (the first NaN if there is one), n >= 1. Also int64.
template <class T>
void argmax(const T* x, std::int64_t* y, std::int64_t outer, std::int64_t n, std::int64_t inner);

/// y = sum((x - mean(x))²) / divisor, in two passes over each row.
template <class T>
void variance(const T* x, T* y, std::int64_t outer, std::int64_t n, std::int64_t inner, double divisor);

/// sum(|x|^p), max|x| for p = inf, over all n elements, in double; the pieces of a gradient norm.
template <class T>
double power_sum(const T* x, std::int64_t n, double p);

}  // namespace retort::kernels
