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
  bool is_line = false;  ///< of one dimension: height 1, and errors mention only the width
};

/// Throws: ValueError if an option is out of range.
void check_windows(const char* operation, const WindowOptions& options);

/// The windows over the last two dimensions of shape x, or over the last one of a line; `kernel` is the
/// kernel as shown in errors.
/// Throws: ValueError if an option is out of range; ShapeError if there is no window or the image is empty.
kernels::Windows plan_windows(const char* operation, const Shape& x, const Shape& kernel,
                              const WindowOptions& options);

/// Throws: ValueError for options of a transposed convolution that are out of range.
void check_transposed(const char* operation, const Size2d& kernel,
                      const ConvTranspose2dFunctionalOptions& options);
/// Throws: ValueError for options of a pooling that are out of range.
WindowOptions checked_pooling(const char* operation, const MaxPool2dOptions& options);
WindowOptions checked_pooling(const char* operation, const AvgPool2dOptions& options);
WindowOptions checked_pooling(const char* operation, const MaxPool1dOptions& options);
WindowOptions checked_pooling(const char* operation, const AvgPool1dOptions& options);
/// Throws: ValueError for a size below 1.
void check_adaptive(const char* operation, const Size2d& size);

}  // namespace retort::detail
