#include "retort/framework/ops/conv.hpp"

#include <algorithm>
#include <limits>

#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/windows.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/matmul.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
namespace {

using kernels::Windows;

Tensor fold(const Tensor& columns, const Windows& windows);

// [P, H, W] → [P, window, positions]; fold is its adjoint, and each is the other's rule.
Tensor unfold(const Tensor& x, const Windows& windows) {
  const std::int64_t planes = x.size(0);
  Array out({planes, windows.window(), windows.positions()}, x.dtype());
  visit_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::unfold(x.data<T>().data(), out.fill<T>().data(), planes, windows);
  });
  return record({.name = "unfold",
                 .inputs = {x},
                 .value = Tensor(std::move(out)),
                 .vjp = [windows](const Tensor& g, Needs) { return fold(g, windows); }});
}

Tensor fold(const Tensor& columns, const Windows& windows) {
  const std::int64_t planes = columns.size(0);
  Array out({planes, windows.height, windows.width}, columns.dtype());
  visit_floating(columns.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::fold(columns.data<T>().data(), out.fill<T>().data(), planes, windows);
  });
  return record({.name = "fold",
                 .inputs = {columns},
                 .value = Tensor(std::move(out)),
                 .vjp = [windows](const Tensor& g, Needs) { return unfold(g, windows); }});
}

void check_positive(const char* operation, const char* what, const Size2d& size, std::int64_t least) {
  if (size.height < least || size.width < least)
    throw ValueError(message("{}: {} is {}; it must be at least {}", operation, what,
                             Shape{size.height, size.width}, least));
}

// Window positions along one dimension; 0 or less if the kernel does not fit. In ceil mode a last window may reach
// beyond the padding, but starts inside the image or the padding before it.
std::int64_t positions(std::int64_t extent, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                       std::int64_t dilation, bool ceil_mode) {
  const std::int64_t room = extent + 2 * padding - dilation * (kernel - 1) - 1;
  if (room <= -stride || (room < 0 && !ceil_mode)) return 0;
  std::int64_t count = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (ceil_mode && (count - 1) * stride >= extent + padding) --count;
  return count;
}

// `kernel_shape` is what an error calls the kernel.
Windows plan_windows(const char* operation, const Tensor& x, const Shape& kernel_shape, const Size2d& kernel,
                     const Size2d& stride, const Size2d& padding, const Size2d& dilation, bool ceil_mode) {
  check_positive(operation, "kernel size", kernel, 1);
  check_positive(operation, "stride", stride, 1);
  check_positive(operation, "padding", padding, 0);
  check_positive(operation, "dilation", dilation, 1);
  Windows windows{.height = x.size(-2),
                  .width = x.size(-1),
                  .kernel_h = kernel.height,
                  .kernel_w = kernel.width,
                  .stride_h = stride.height,
                  .stride_w = stride.width,
                  .padding_h = padding.height,
                  .padding_w = padding.width,
                  .dilation_h = dilation.height,
                  .dilation_w = dilation.width};
  windows.out_h =
      positions(windows.height, kernel.height, stride.height, padding.height, dilation.height, ceil_mode);
  windows.out_w =
      positions(windows.width, kernel.width, stride.width, padding.width, dilation.width, ceil_mode);
  if (windows.out_h <= 0 || windows.out_w <= 0 || windows.plane() == 0)
    throw ShapeError(message("{}: input has shape {}, too small for a kernel of {} with padding {}",
                             operation, x.shape(), kernel_shape, Shape{padding.height, padding.width}));
  return windows;
}

// The entry of both poolings: images as planes, and the shape of the result.
struct Pooling {
  Windows windows;
  Tensor planes;
  Shape result;
};

Pooling plan_pooling(const char* operation, const Tensor& x, const Size2d& kernel,
                     const std::optional<Size2d>& stride, const Size2d& padding, const Size2d& dilation,
                     bool ceil_mode) {
  detail::require_floating(operation, x);
  if (x.dim() != 3 && x.dim() != 4)
    throw ShapeError(
        message("{}: input has shape {}; it must be (N, C, H, W) or (C, H, W)", operation, x.shape()));
  if (2 * padding.height > kernel.height || 2 * padding.width > kernel.width)
    throw ValueError(message("{}: padding {} is more than half the kernel's size {}", operation,
                             Shape{padding.height, padding.width}, Shape{kernel.height, kernel.width}));
  Pooling pooling{plan_windows(operation, x, {kernel.height, kernel.width}, kernel, stride.value_or(kernel),
                               padding, dilation, ceil_mode),
                  {},
                  x.shape()};
  const std::size_t rank = pooling.result.size();
  pooling.result[rank - 2] = pooling.windows.out_h;
  pooling.result[rank - 1] = pooling.windows.out_w;
  pooling.planes =
      reshape(x, {x.size() / std::max<std::int64_t>(1, pooling.windows.plane()), x.size(-2), x.size(-1)});
  return pooling;
}

// Elements that each window of an average is divided by.
Tensor divisors(const Windows& w, bool count_include_pad, DType dtype) {
  const auto covered = [&](std::int64_t position, std::int64_t stride, std::int64_t padding,
                           std::int64_t kernel, std::int64_t extent) {
    const std::int64_t begin = position * stride - padding;
    const std::int64_t end = std::min(begin + kernel, extent + padding);
    return count_include_pad ? end - begin : std::min(end, extent) - std::max<std::int64_t>(begin, 0);
  };
  std::vector<double> counts;
  for (std::int64_t i = 0; i < w.out_h; ++i)
    for (std::int64_t j = 0; j < w.out_w; ++j)
      counts.push_back(static_cast<double>(covered(i, w.stride_h, w.padding_h, w.kernel_h, w.height) *
                                           covered(j, w.stride_w, w.padding_w, w.kernel_w, w.width)));
  return tensor(counts).to(dtype);
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, Conv2dFunctionalOptions options) {
  constexpr const char* operation = "conv2d";
  detail::require_floating(operation, x);
  detail::require_floating(operation, weight);
  if (x.dim() != 4 || weight.dim() != 4)
    throw ShapeError(
        message("{}: input has shape {} and weight {}; they must be (N, C, H, W) and (out, C / "
                "groups, kernel height, kernel width)",
                operation, x.shape(), weight.shape()));
  const std::int64_t groups = options.groups;
  const std::int64_t channels = x.size(1);
  const std::int64_t out = weight.size(0);
  if (groups < 1 || channels % groups != 0 || out % groups != 0)
    throw ValueError(message("{}: groups is {}; it must divide the {} input and the {} output channels",
                             operation, groups, channels, out));
  if (weight.size(1) != channels / groups)
    throw ShapeError(
        message("{}: input has shape {} but weight {}; with {} groups weight must have {} input "
                "channels",
                operation, x.shape(), weight.shape(), groups, channels / groups));
  if (bias.defined() && bias.shape() != Shape{out})
    throw ShapeError(message("{}: bias has shape {} but weight {}; bias must have shape {}", operation,
                             bias.shape(), weight.shape(), Shape{out}));
  const Windows windows = plan_windows(operation, x, weight.shape(), {weight.size(2), weight.size(3)},
                                       options.stride, options.padding, options.dilation, false);
  const std::int64_t batch = x.size(0);
  const std::int64_t depth = weight.size(1) * windows.window();
  const Tensor columns = unfold(reshape(x, {batch * channels, windows.height, windows.width}), windows);
  const Tensor product = matmul(reshape(weight, {groups, out / groups, depth}),
                                reshape(columns, {batch, groups, depth, windows.positions()}));
  const Tensor y = reshape(product, {batch, out, windows.out_h, windows.out_w});
  return bias.defined() ? y + reshape(bias, {out, 1, 1}) : y;
}

Tensor max_pool2d(const Tensor& x, MaxPool2dOptions options) {
  const Pooling pooling = plan_pooling("max_pool2d", x, options.kernel_size, options.stride, options.padding,
                                       options.dilation, options.ceil_mode);
  const Windows& windows = pooling.windows;
  const std::int64_t planes = pooling.planes.size(0);
  Array index({planes, windows.positions()}, DType::int64);
  visit_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::window_argmax(x.data<T>().data(), index.fill<std::int64_t>().data(), planes, windows);
  });
  const Tensor picks(std::move(index)), images = reshape(pooling.planes, {planes, windows.plane()});
  const auto positions = picks.data<std::int64_t>();
  if (std::find(positions.begin(), positions.end(), -1) == positions.end())
    return reshape(gather(images, 1, picks), pooling.result);
  // Some windows hold nothing but padding.
  const Tensor outside = less(picks, 0);
  const Tensor y = where(outside, -std::numeric_limits<double>::infinity(),
                         gather(images, 1, where(outside, zeros({1}, DType::int64), picks)));
  return reshape(y, pooling.result);
}

Tensor avg_pool2d(const Tensor& x, AvgPool2dOptions options) {
  const Pooling pooling = plan_pooling("avg_pool2d", x, options.kernel_size, options.stride, options.padding,
                                       1, options.ceil_mode);
  const Tensor sums = sum(unfold(pooling.planes, pooling.windows), 1);
  return reshape(sums / divisors(pooling.windows, options.count_include_pad, x.dtype()), pooling.result);
}

}  // namespace retort
