// Sliding windows over images: what convolution and pooling are made of. Explicitly instantiated for float and double.
#pragma once

#include <cstdint>

namespace retort::kernels {

/// Windows of kernel_h × kernel_w (dilated) that slide over planes of height × width with padding around them.
struct Windows {
  std::int64_t height = 0, width = 0;
  std::int64_t kernel_h = 1, kernel_w = 1;
  std::int64_t stride_h = 1, stride_w = 1;
  std::int64_t padding_h = 0, padding_w = 0;
  std::int64_t dilation_h = 1, dilation_w = 1;
  std::int64_t out_h = 0, out_w = 0;  ///< window positions; windows may reach beyond the padding

  std::int64_t plane() const { return height * width; }
  std::int64_t window() const { return kernel_h * kernel_w; }
  std::int64_t positions() const { return out_h * out_w; }
};

/// columns [planes, window, positions] from x [planes, height, width]; 0 outside the plane.
template <class T>
void unfold(const T* x, T* columns, std::int64_t planes, const Windows& windows);

/// The adjoint: x = 0, then each element of columns is added to the place that unfold read it from.
template <class T>
void fold(const T* columns, T* x, std::int64_t planes, const Windows& windows);

/// index [planes, positions]: position in its plane of the first maximum of each window, of the first NaN if there is
/// one; -1 for a window that holds no element of the plane.
template <class T>
void window_argmax(const T* x, std::int64_t* index, std::int64_t planes, const Windows& windows);

}  // namespace retort::kernels
