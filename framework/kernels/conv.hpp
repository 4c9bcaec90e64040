// Convolution as matrix products whose panels are packed directly from the images, without an im2col matrix.
// The bits of a result depend only on the shapes. Explicitly instantiated for float and double.
#pragma once

#include "retort/framework/kernels/windows.hpp"

namespace retort::kernels {

/// A convolution of x [images, groups·in, height, width] with weight [groups·out, in, kernel_h, kernel_w] to
/// y [images, groups·out, out_h, out_w]; `in` and `out` count the channels of one group.
struct Convolution {
  Index images = 0, groups = 1, in = 0, out = 0;
  Windows windows;
};

/// y[n, o, p] = bias[o] + Σ over channels and taps of weight · x; bias [groups·out] may be null.
template <class T>
void convolve(const T* x, const T* weight, const T* bias, T* y, const Convolution& conv);

/// The adjoint in x, applied to g [y's shape], plus bias [groups·in], which may be null: the value of a
/// transposed convolution, and the gradient of convolve() for x.
template <class T>
void convolve_transposed(const T* g, const T* weight, const T* bias, T* x, const Convolution& conv);

/// The adjoint in the weight: the gradient of convolve() for the weight, where g is the gradient of y.
template <class T>
void convolve_weight_gradient(const T* x, const T* g, T* weight, const Convolution& conv);

}  // namespace retort::kernels
