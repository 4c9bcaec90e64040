// Products along a dimension and their gradients.
#pragma once

#include "retort/framework/kernels/axis.hpp"

namespace retort::kernels {

/// y [outer, inner]: the products of x [outer, n, inner] along n. float is multiplied in double.
template <class T>
void product(const T* x, T* y, const Axis& axis);

/// dx [outer, n, inner]: g [outer, inner] times the product of the other elements along n, without overflow
/// or underflow in intermediate values. Zeros are allowed.
template <class T>
void product_backward(const T* x, const T* g, T* dx, const Axis& axis);

}  // namespace retort::kernels
