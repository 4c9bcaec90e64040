// Euclidean distances between the rows of two matrices, and their gradients.
#pragma once

#include "retort/framework/kernels/axis.hpp"

namespace retort::kernels {

/// y [batch, P, R]: the distance of each row of a [batch, P, M] from each row of b [batch, R, M]. Differences
/// whose squares overflow or underflow are scaled.
template <class T>
void distances(const T* a, const T* b, T* y, Index batch, Index P, Index R, Index M);

/// scale = g/y for n elements, and 0 where y = 0. Returns false if a quotient is not finite.
template <class T>
bool distance_scales(const T* g, const T* y, T* scale, Index n);

/// Per batch, a matrix in which adjacent rows are `row` elements apart and adjacent columns `column`: the
/// quotients of distance_scales; or, if one is not finite, g with the distances in the same layout.
template <class T>
struct Upstream {
  const T *first, *distance;
  Index row, column;
};
/// da [batch, P, M]: the sum over j of (a[i] - b[j])·g[i, j]/y[i, j] for b [batch, R, M]. Pairs at
/// distance 0 contribute nothing.
template <class T>
void distances_backward(const T* a, const T* b, Upstream<T> g, T* da, Index batch, Index P, Index R, Index M);

}  // namespace retort::kernels
