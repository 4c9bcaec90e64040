// Convolution, transposed convolution and pooling.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/factories.hpp"

namespace retort {

/// A height and a width; one number gives both.
struct Size2d {
  Size2d(std::int64_t both) : height(both), width(both) {}  // NOLINT: implicit by design
  Size2d(int both) : height(both), width(both) {}           // NOLINT: implicit by design
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

/// Two-dimensional cross-correlation: each result is the sum of weight times a window of x, plus bias.
/// Shapes: x [N, C, H, W], weight [O, C / groups, kh, kw], bias [O] or undefined → [N, O, H', W'] with
/// H' = floor((H + 2·padding - dilation·(kh - 1) - 1) / stride) + 1.
/// Throws: ShapeError for shapes that do not fit or a kernel larger than the padded image, ValueError for
/// options out of range.
[[nodiscard]] Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                            Conv2dFunctionalOptions options = {});

struct Conv1dFunctionalOptions {
  std::int64_t stride = 1;
  std::int64_t padding = 0;  ///< zeros at both ends
  std::int64_t dilation = 1;
  std::int64_t groups = 1;  ///< channels are split into groups that do not see each other
};

/// One-dimensional cross-correlation.
/// Shapes: x [N, C, L], weight [O, C / groups, k], bias [O] or undefined → [N, O, L'] with L' as H' in
/// conv2d.
/// Throws: as conv2d.
[[nodiscard]] Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                            Conv1dFunctionalOptions options = {});

struct ConvTranspose2dFunctionalOptions {
  Size2d stride = 1;
  Size2d padding = 0;         ///< rows and columns cut off at each side of the result
  Size2d output_padding = 0;  ///< rows and columns added below and to the right
  std::int64_t groups = 1;    ///< channels are split into groups that do not see each other
  Size2d dilation = 1;
};

/// The transposed convolution: each element of x adds its multiple of the weight to the result. It is the
/// gradient of conv2d with respect to its input, plus bias.
/// Shapes: x [N, C, H, W], weight [C, O / groups, kh, kw], bias [O] or undefined → [N, O, H', W'] with
/// H' = (H - 1)·stride - 2·padding + dilation·(kh - 1) + output_padding + 1.
/// Throws: ShapeError for shapes that do not fit or an empty result, ValueError for options out of range and
/// for an output_padding that is not less than the stride or the dilation.
[[nodiscard]] Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                                      ConvTranspose2dFunctionalOptions options = {});

struct MaxPool2dOptions {
  Size2d kernel_size = 1;
  std::optional<Size2d> stride = std::nullopt;  ///< the kernel's size when left out
  Size2d padding = 0;                           ///< with -inf; at most half the kernel
  Size2d dilation = 1;
  bool ceil_mode = false;  ///< a last window that is cut off counts
};

/// The maximum of each window.
/// Shapes: x [N, C, H, W] or [C, H, W] → [.., H', W'] with H' = (H + 2·padding - dilation·(kernel - 1) - 1) /
/// stride + 1, rounded down, or up with ceil_mode unless the last window would start after the image.
/// Edge cases: the gradient goes to the first maximum; a window with a NaN gives its first NaN; a window that
/// holds only padding gives -inf and has no gradient.
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

/// The mean of windows that divide the image into size.height × size.width parts: along each dimension of
/// extent n, part i of k covers the elements from floor(i·n / k) up to ceil((i + 1)·n / k).
/// Shapes: x [N, C, H, W] or [C, H, W] → [.., size.height, size.width].
/// Throws: ShapeError for an empty image, ValueError for a size below 1.
[[nodiscard]] Tensor adaptive_avg_pool2d(const Tensor& x, Size2d size);

}  // namespace retort
