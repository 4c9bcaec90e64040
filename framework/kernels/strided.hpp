// Copies of permuted, sliced or repeated views. Explicitly instantiated for float, double and int64.
#pragma once

#include <cstdint>

namespace retort::kernels {

/// Copies a view of x to the contiguous array y of extents [rank] (at most 8): y[i, j, …] = x[i·strides[0] +
/// j·strides[1] + …]. Strides are in elements, and may be 0 or negative. x and y must not overlap.
template <class T>
void strided_copy(const T* x, T* y, int rank, const std::int64_t* extents, const std::int64_t* strides);

}  // namespace retort::kernels
