// Convolution, transposed convolution and pooling.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A height and a width; a single number sets both.
struct Size2d {
  Size2d(std::int64_t both) : height(both), width(both) {}  // NOLINT: implicit by design
  Size2d(int both) : height(both), width(both) {}           // NOLINT: implicit by design
  Size2d(std::int64_t h, std::int64_t w) : height(h), width(w) {}
  std::int64_t height;  ///< vertical extent of the image or window
  std::int64_t width;   ///< horizontal extent
};

struct Conv2dFunctionalOptions {
  Size2d stride = 1;
  Size2d padding = 0;  ///< zeros around the image
  Size2d dilation = 1;
  std::int64_t groups = 1;  ///< the channels are split into this many independent groups
};

/// Two-dimensional cross-correlation: each result is the weighted sum of a window of x, plus bias.
/// Shapes: x [N, C, H, W], weight [O, C / groups, kh, kw], bias [O] or undefined → [N, O, H', W'] with
/// H' = floor((H + 2·padding - dilation·(kh - 1) - 1) / stride) + 1.
/// Edge cases: taps in the padding are left out or multiplied by 0, whichever is faster. So an infinite or
/// NaN weight may make results and gradients NaN that it reaches only there.
/// Throws: ShapeError if shapes do not fit or the kernel is larger than the padded image; ValueError if an
/// option is out of range; TypeError if an input is int64.
[[nodiscard]] Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                            const Conv2dFunctionalOptions& options = {});

struct Conv1dFunctionalOptions {
  std::int64_t stride = 1;
  std::int64_t padding = 0;  ///< zeros at both ends
  std::int64_t dilation = 1;
  std::int64_t groups = 1;  ///< the channels are split into this many independent groups
};

/// One-dimensional cross-correlation.
/// Shapes: x [N, C, L], weight [O, C / groups, k], bias [O] or undefined → [N, O, L'], with L' computed as H'
/// in conv2d.
/// Throws: the errors of conv2d.
[[nodiscard]] Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                            Conv1dFunctionalOptions options = {});

struct ConvTranspose2dFunctionalOptions {
  Size2d stride = 1;
  Size2d padding = 0;         ///< rows and columns removed from each side of the result
  Size2d output_padding = 0;  ///< rows and columns added at the bottom and right
  std::int64_t groups = 1;    ///< the channels are split into this many independent groups
  Size2d dilation = 1;
};

/// Transposed convolution: each element of x adds a multiple of the weight to the result. It is the gradient
/// of conv2d with respect to its input, plus bias. Infinite and NaN weights have the effect described there.
/// Shapes: x [N, C, H, W], weight [C, O / groups, kh, kw], bias [O] or undefined → [N, O, H', W'] with
/// H' = (H - 1)·stride - 2·padding + dilation·(kh - 1) + output_padding + 1.
/// Throws: ShapeError if shapes do not fit or the result is empty; ValueError if an option is out of range or
/// output_padding is not less than the larger of stride and dilation; TypeError if an input is int64.
[[nodiscard]] Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                                      const ConvTranspose2dFunctionalOptions& options = {});

/// The stride of a pooling operation; the kernel size if absent.
struct PoolStride : std::optional<Size2d> {
  using optional::optional;
  PoolStride(std::int64_t h, std::int64_t w) : optional(Size2d(h, w)) {}
};

struct MaxPool2dOptions {
  Size2d kernel_size = 1;
  PoolStride stride = {};
  Size2d padding = 0;  ///< with -inf; at most half the kernel
  Size2d dilation = 1;
  bool ceil_mode = false;  ///< include a last window that extends past the image
};

/// The maximum of each window.
/// Shapes: x [N, C, H, W] or [C, H, W] → [.., H', W'] with H' = (H + 2·padding - dilation·(kernel - 1) - 1) /
/// stride + 1, rounded down, or up with ceil_mode unless the last window would start after the image.
/// Edge cases: the gradient goes to the first maximum. A window with NaNs gives its first NaN. A window that
/// contains only padding gives -inf and has no gradient.
/// Throws: ShapeError if the image is empty or smaller than a window; ValueError if an option is out of
/// range; TypeError if x is int64.
[[nodiscard]] Tensor max_pool2d(const Tensor& x, const MaxPool2dOptions& options);

struct MaxPool1dOptions {
  std::int64_t kernel_size = 1;
  std::optional<std::int64_t> stride = {};  ///< the kernel size if absent
  std::int64_t padding = 0;                 ///< with -inf; at most half the kernel
  std::int64_t dilation = 1;
  bool ceil_mode = false;  ///< include a last window that extends past the end
};

/// max_pool2d along one dimension, with its edge cases and errors.
/// Shapes: x [N, C, L] or [C, L] → [.., L'], with L' computed as H' in max_pool2d.
[[nodiscard]] Tensor max_pool1d(const Tensor& x, const MaxPool1dOptions& options);

struct AvgPool2dOptions {
  Size2d kernel_size = 1;
  PoolStride stride = {};
  Size2d padding = 0;             ///< with zeros; at most half the kernel
  bool ceil_mode = false;         ///< include a last window that extends past the image
  bool count_include_pad = true;  ///< include padded zeros in the divisor
};

/// The mean of each window. Shapes and errors as in max_pool2d.
[[nodiscard]] Tensor avg_pool2d(const Tensor& x, const AvgPool2dOptions& options);

struct AvgPool1dOptions {
  std::int64_t kernel_size = 1;
  std::optional<std::int64_t> stride = {};  ///< the kernel size if absent
  std::int64_t padding = 0;                 ///< with zeros; at most half the kernel
  bool ceil_mode = false;                   ///< include a last window that extends past the end
  bool count_include_pad = true;            ///< include padded zeros in the divisor
};

/// avg_pool2d along one dimension. Shapes and errors as in max_pool1d.
[[nodiscard]] Tensor avg_pool1d(const Tensor& x, const AvgPool1dOptions& options);

/// The mean of windows that divide the image into size.height × size.width parts. Along a dimension of extent
/// n, part i of k covers the elements floor(i·n / k) to ceil((i + 1)·n / k) - 1.
/// Shapes: x [N, C, H, W] or [C, H, W] → [.., size.height, size.width].
/// Throws: ShapeError if the image is empty; ValueError if a size is less than 1; TypeError if x is int64.
[[nodiscard]] Tensor adaptive_avg_pool2d(const Tensor& x, Size2d size);
/// The maximum of the windows of adaptive_avg_pool2d, with its shapes and errors, and the edge cases of
/// max_pool2d.
[[nodiscard]] Tensor adaptive_max_pool2d(const Tensor& x, Size2d size);

}  // namespace retort
