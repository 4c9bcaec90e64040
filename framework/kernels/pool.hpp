// Pooling over image planes. Explicitly instantiated for float and double.
#pragma once

#include <vector>

#include "retort/framework/kernels/windows.hpp"

namespace retort::kernels {

/// y [planes, positions]: the maximum of each window of x [planes, height, width]. A NaN counts as the
/// maximum; a window outside the plane gives -infinity.
template <class T>
void max_pool(const T* x, T* y, Index planes, const Windows& windows);

/// gx [planes, height, width]: adds each element of g [planes, positions] to the first maximum of its window,
/// or to its first NaN; 0 elsewhere.
template <class T>
void max_pool_gradient(const T* x, const T* g, T* gx, Index planes, const Windows& windows);

/// index [planes, positions]: the position in its plane of the element selected by max_pool(); -1 if there is
/// none.
template <class T>
void max_pool_index(const T* x, Index* index, Index planes, const Windows& windows);

/// The windows of an average along one dimension: elements [begin, end) of the plane, divided by `divisor`.
struct Spans {
  Index extent = 0;
  std::vector<Index> begin, end, divisor;
  Index size() const { return static_cast<Index>(begin.size()); }
};

/// y [planes, h.size(), w.size()]: the sum of each window of x [planes, h.extent, w.extent] divided by the
/// product of the divisors.
template <class T>
void avg_pool(const T* x, T* y, Index planes, const Spans& h, const Spans& w);

/// The adjoint of avg_pool().
template <class T>
void avg_pool_gradient(const T* g, T* x, Index planes, const Spans& h, const Spans& w);

}  // namespace retort::kernels
