#include "retort/framework/ops/windows.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "retort/framework/base/error.hpp"

namespace retort::detail {
namespace {

__extension__ using Wide = __int128;

std::string shown(const Size2d& size, bool is_line = false) {
  return is_line ? std::to_string(size.width) : message("{}", Shape{size.height, size.width});
}

void check_at_least(const char* operation, const char* what, const Size2d& size, std::int64_t least,
                    bool is_line = false) {
  if (size.height < least || size.width < least)
    throw ValueError(
        message("{}: {} is {}; it must be at least {}", operation, what, shown(size, is_line), least));
}

WindowOptions checked_pooling(const char* operation, const WindowOptions& options) {
  check_windows(operation, options);
  const auto& [kernel, stride, padding, dilation, ceil_mode, is_line] = options;
  if (padding.height > kernel.height / 2 || padding.width > kernel.width / 2)
    throw ValueError(message("{}: padding {} is more than half the kernel's size {}", operation,
                             shown(padding, is_line), shown(kernel, is_line)));
  return options;
}

// Number of window positions along one dimension; 0 if the kernel does not fit. In ceil mode the last window
// may extend past the padding, but must start inside the image or the padding before it. Every option may be
// as large as an int64.
std::int64_t positions(Wide extent, Wide kernel, Wide stride, Wide padding, Wide dilation, bool ceil_mode) {
  const Wide room = extent + 2 * padding - dilation * (kernel - 1) - 1;
  if (room <= -stride || (room < 0 && !ceil_mode)) return 0;
  Wide count = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (ceil_mode && (count - 1) * stride >= extent + padding) --count;
  // A result with this many positions is rejected later for its size.
  return static_cast<std::int64_t>(std::min<Wide>(count, std::numeric_limits<std::int64_t>::max()));
}

}  // namespace

void check_windows(const char* operation, const WindowOptions& options) {
  check_at_least(operation, "kernel size", options.kernel, 1, options.is_line);
  check_at_least(operation, "stride", options.stride, 1, options.is_line);
  check_at_least(operation, "padding", options.padding, 0, options.is_line);
  check_at_least(operation, "dilation", options.dilation, 1, options.is_line);
}

void check_transposed(const char* operation, const Size2d& kernel,
                      const ConvTranspose2dFunctionalOptions& o) {
  check_windows(operation, {kernel, o.stride, o.padding, o.dilation});
  const auto fits = [](std::int64_t extra, std::int64_t stride, std::int64_t dilation) {
    return extra >= 0 && extra < std::max(stride, dilation);
  };
  if (!fits(o.output_padding.height, o.stride.height, o.dilation.height) ||
      !fits(o.output_padding.width, o.stride.width, o.dilation.width))
    throw ValueError(
        message("{}: output_padding is {}; it must be at least 0 and less than the stride {} or the "
                "dilation {}",
                operation, shown(o.output_padding), shown(o.stride), shown(o.dilation)));
}

WindowOptions checked_pooling(const char* operation, const MaxPool2dOptions& o) {
  const Size2d& kernel = o.kernel_size;
  return checked_pooling(
      operation, WindowOptions{kernel, o.stride.value_or(kernel), o.padding, o.dilation, o.ceil_mode});
}

WindowOptions checked_pooling(const char* operation, const AvgPool2dOptions& o) {
  const Size2d& kernel = o.kernel_size;
  return checked_pooling(operation,
                         WindowOptions{kernel, o.stride.value_or(kernel), o.padding, 1, o.ceil_mode});
}

WindowOptions checked_pooling(const char* operation, const MaxPool1dOptions& o) {
  return checked_pooling(operation, WindowOptions{{1, o.kernel_size},
                                                  {1, o.stride.value_or(o.kernel_size)},
                                                  {0, o.padding},
                                                  {1, o.dilation},
                                                  o.ceil_mode,
                                                  true});
}

WindowOptions checked_pooling(const char* operation, const AvgPool1dOptions& o) {
  return checked_pooling(
      operation,
      MaxPool1dOptions{
          .kernel_size = o.kernel_size, .stride = o.stride, .padding = o.padding, .ceil_mode = o.ceil_mode});
}

void check_adaptive(const char* operation, const Size2d& size) { check_at_least(operation, "size", size, 1); }

kernels::Windows plan_windows(const char* operation, const Shape& x, const Shape& kernel,
                              const WindowOptions& o) {
  check_windows(operation, o);
  kernels::Windows windows{.height = o.is_line ? 1 : x[x.size() - 2],
                           .width = x.back(),
                           .kernel_h = o.kernel.height,
                           .kernel_w = o.kernel.width,
                           .stride_h = o.stride.height,
                           .stride_w = o.stride.width,
                           .padding_h = o.padding.height,
                           .padding_w = o.padding.width,
                           .dilation_h = o.kernel.height == 1 ? 1 : o.dilation.height,
                           .dilation_w = o.kernel.width == 1 ? 1 : o.dilation.width};
  windows.out_h = positions(windows.height, o.kernel.height, o.stride.height, o.padding.height,
                            o.dilation.height, o.ceil_mode);
  windows.out_w = positions(windows.width, o.kernel.width, o.stride.width, o.padding.width, o.dilation.width,
                            o.ceil_mode);
  if (windows.out_h <= 0 || windows.out_w <= 0 || windows.plane() == 0)
    throw ShapeError(
        message("{}: input has shape {}, too small for a kernel of {} with padding {} and dilation {}",
                operation, x, kernel, shown(o.padding, o.is_line), shown(o.dilation, o.is_line)));
  // A single position uses no stride, however large the option is.
  if (windows.out_h == 1) windows.stride_h = 1;
  if (windows.out_w == 1) windows.stride_w = 1;
  return windows;
}

}  // namespace retort::detail
