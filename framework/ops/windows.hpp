// Checked window geometry for convolution and pooling. Internal.
#pragma once

#include "retort/framework/core/tensor.hpp"
#include "retort/framework/kernels/windows.hpp"
#include "retort/framework/ops/conv.hpp"

namespace retort::detail {

/// The parameters of sliding windows, without the image.
struct WindowOptions {
  Size2d kernel, stride, padding = 0, dilation = 1;
  bool ceil_mode = false;
};

/// Throws: ValueError if an option is out of range.
void check_windows(const char* operation, const WindowOptions& options);

/// The windows over the last two dimensions of x; `kernel` is the kernel as shown in errors.
/// Throws: ValueError if an option is out of range; ShapeError if there is no window or the image is empty.
kernels::Windows plan_windows(const char* operation, const Tensor& x, const Shape& kernel,
                              const WindowOptions& options);

}  // namespace retort::detail
