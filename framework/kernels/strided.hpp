// Copies of permuted, sliced or repeated views. Explicitly instantiated for float, double and int64.
#pragma once

#include <cstdint>

namespace retort::kernels {

/// y, a contiguous array of extents [rank] (at most 8), from the view of x with these strides, in elements:
/// y[i, j, …] = x[i·strides[0] + j·strides[1] + …]. Strides may be 0 or negative. x and y do not overlap.
template <class T>
void strided_copy(const T* x, T* y, int rank, const std::int64_t* extents, const std::int64_t* strides);

}  // namespace retort::kernels
