// Two-dimensional convolution and pooling over images [N, C, H, W].
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/factories.hpp"

namespace retort {

/// A height and a width; one number stands for both.
struct Size2d {
  Size2d(std::int64_t both) : height(both), width(both) {}  // NOLINT: made to be implicit
  Size2d(int both) : height(both), width(both) {}           // NOLINT: made to be implicit
  Size2d(std::int64_t h, std::int64_t w) : height(h), width(w) {}
  /// Extents of the image or window.
  std::int64_t height;
  std::int64_t width;
};

struct Conv2dFunctionalOptions {
  Size2d stride = 1;
  Size2d padding = 0;  ///< zeros around the image
  Size2d dilation = 1;
  std::int64_t groups = 1;  ///< channels are split into groups that do not see each other
};

/// Cross-correlation: y [N, O, H', W'] of x [N, C, H, W] with weight [O, C/groups, kh, kw], plus bias [O] (undefined for
/// none); H' = floor((H + 2·padding - dilation·(kh - 1) - 1) / stride) + 1. ShapeError for shapes that do not fit or a
/// kernel larger than the padded image, ValueError for options out of range. As torch.nn.functional.conv2d.
[[nodiscard]] Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                            Conv2dFunctionalOptions options = {});

struct MaxPool2dOptions {
  Size2d kernel_size = 1;
  std::optional<Size2d> stride = std::nullopt;  ///< the kernel's size when left out
  Size2d padding = 0;                           ///< with -inf; at most half the kernel
  Size2d dilation = 1;
  bool ceil_mode = false;  ///< a last window that is cut off counts
};

/// The maximum of each window.
/// Shapes: x [N, C, H, W] or [C, H, W] → [.., H', W'] with H' = (H + 2·padding - dilation·(kernel - 1) - 1) / stride + 1,
/// rounded down, or up with ceil_mode unless the last window would start after the image.
/// Edge cases: the gradient goes to the first maximum; a window with a NaN gives its first NaN; a window that holds only
/// padding gives -inf and has no gradient.
/// Throws: ShapeError for an empty image or a result without a window, ValueError for options out of range.
[[nodiscard]] Tensor max_pool2d(const Tensor& x, MaxPool2dOptions options);

struct AvgPool2dOptions {
  Size2d kernel_size = 1;
  std::optional<Size2d> stride = std::nullopt;  ///< the kernel's size when left out
  Size2d padding = 0;                           ///< with zeros; at most half the kernel
  bool ceil_mode = false;                       ///< a last window that is cut off counts
  bool count_include_pad = true;                ///< padded zeros count in the divisor
};

/// The mean of each window. Shapes and errors are those of max_pool2d.
[[nodiscard]] Tensor avg_pool2d(const Tensor& x, AvgPool2dOptions options);

}  // namespace retort
