#include "retort/framework/ops/windows.hpp"

#include <algorithm>
#include <limits>

#include "retort/framework/base/error.hpp"

namespace retort::detail {
namespace {

__extension__ using Wide = __int128;

void check_at_least(const char* operation, const char* what, const Size2d& size, std::int64_t least) {
  if (size.height < least || size.width < least)
    throw ValueError(message("{}: {} is {}; it must be at least {}", operation, what,
                             Shape{size.height, size.width}, least));
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
  check_at_least(operation, "kernel size", options.kernel, 1);
  check_at_least(operation, "stride", options.stride, 1);
  check_at_least(operation, "padding", options.padding, 0);
  check_at_least(operation, "dilation", options.dilation, 1);
}

kernels::Windows plan_windows(const char* operation, const Tensor& x, const Shape& kernel,
                              const WindowOptions& o) {
  check_windows(operation, o);
  kernels::Windows windows{.height = x.size(-2),
                           .width = x.size(-1),
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
                operation, x.shape(), kernel, Shape{o.padding.height, o.padding.width},
                Shape{o.dilation.height, o.dilation.width}));
  // A single position uses no stride, however large the option is.
  if (windows.out_h == 1) windows.stride_h = 1;
  if (windows.out_w == 1) windows.stride_w = 1;
  return windows;
}

}  // namespace retort::detail
