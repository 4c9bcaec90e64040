#include "retort/framework/ops/conv.hpp"

#include <algorithm>
#include <new>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/out_of_memory_impl.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/conv.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/windows.hpp"

namespace retort {
namespace {

using kernels::Convolution;

Shape image_shape(const Convolution& conv) {
  return {conv.images, conv.groups * conv.in, conv.windows.height, conv.windows.width};
}
Shape result_shape(const Convolution& conv) {
  return {conv.images, conv.groups * conv.out, conv.windows.out_h, conv.windows.out_w};
}

Tensor channel_sums(const Tensor& g) {
  return sum(sum(reshape(g, {g.size(0), g.size(1), g.size(2) * g.size(3)}), 2), 0);
}

// compute(), with an error that names the operation if the result or the kernel's padded images do not fit.
template <class Kernel, class... Inputs>
Tensor computed(const char* name, const Shape& shape, DType dtype, const Convolution& conv,
                const Kernel& kernel, const Inputs&... inputs) {
  try {
    return compute(shape, dtype, kernel, inputs...);
  } catch (const std::bad_alloc&) {
    const kernels::Windows& w = conv.windows;
    throw detail::OutOfMemory(
        message("images of shapes {} and {}, or the former with a padding of {}, are too large",
                image_shape(conv), result_shape(conv), Shape{w.padding_h, w.padding_w}),
        name);
  }
}

// Convolution, its input gradient and its weight gradient are linear in each input; the rule of each uses the
// other two.
Tensor transposed(const Tensor& g, const Tensor& weight, const Tensor& bias, const Convolution& conv,
                  const char* name = "conv2d backward");
Tensor weight_gradient(const Tensor& x, const Tensor& g, const Convolution& conv);

Tensor convolved(const Tensor& x, const Tensor& weight, const Tensor& bias, const Convolution& conv,
                 const char* name = "conv2d") {
  const auto kernel = [&]<class T>(T* y, const T* images, const T* w, const T* b) {
    kernels::convolve(images, w, b, y, conv);
  };
  return record({.name = name,
                 .inputs = {x, weight, bias},
                 .value = computed(name, result_shape(conv), x.dtype(), conv, kernel, x, weight, bias),
                 .vjp = [x, weight, conv](const Tensor& g, Needs needs) {
                   return std::array<Tensor, 3>{needs[0] ? transposed(g, weight, {}, conv) : Tensor(),
                                                needs[1] ? weight_gradient(x, g, conv) : Tensor(),
                                                needs[2] ? channel_sums(g) : Tensor()};
                 }});
}

Tensor transposed(const Tensor& g, const Tensor& weight, const Tensor& bias, const Convolution& conv,
                  const char* name) {
  const auto kernel = [&]<class T>(T* x, const T* from, const T* w, const T* b) {
    kernels::convolve_transposed(from, w, b, x, conv);
  };
  return record({.name = name,
                 .inputs = {g, weight, bias},
                 .value = computed(name, image_shape(conv), g.dtype(), conv, kernel, g, weight, bias),
                 .vjp = [g, weight, conv](const Tensor& v, Needs needs) {
                   return std::array<Tensor, 3>{needs[0] ? convolved(v, weight, {}, conv) : Tensor(),
                                                needs[1] ? weight_gradient(v, g, conv) : Tensor(),
                                                needs[2] ? channel_sums(v) : Tensor()};
                 }});
}

Tensor weight_gradient(const Tensor& x, const Tensor& g, const Convolution& conv) {
  const Shape shape{conv.groups * conv.out, conv.in, conv.windows.kernel_h, conv.windows.kernel_w};
  const auto kernel = [&]<class T>(T* weight, const T* images, const T* from) {
    kernels::convolve_weight_gradient(images, from, weight, conv);
  };
  return record({.name = "conv2d weight backward",
                 .inputs = {x, g},
                 .value = computed("conv2d weight backward", shape, x.dtype(), conv, kernel, x, g),
                 .vjp = [x, g, conv](const Tensor& u, Needs needs) {
                   return std::array<Tensor, 2>{needs[0] ? transposed(g, u, {}, conv) : Tensor(),
                                                needs[1] ? convolved(x, u, {}, conv) : Tensor()};
                 }});
}

/// The arguments of a convolution, converted to one floating-point type and checked except for the geometry.
struct Arguments {
  Tensor x, weight, bias;
};
Arguments checked(const char* operation, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  std::int64_t groups, int dims, bool transposes) {
  detail::require_floating(operation, x);
  detail::require_floating(operation, "weight", weight);
  if (x.dim() != dims + 2 || weight.dim() != dims + 2)
    throw ShapeError(message("{}: input has shape {} and weight {}; they must be {} and ({}, {})", operation,
                             x.shape(), weight.shape(), dims == 1 ? "(N, C, L)" : "(N, C, H, W)",
                             transposes ? "C, out / groups" : "out, C / groups",
                             dims == 1 ? "kernel size" : "kernel height, kernel width"));
  if (groups < 1) throw ValueError(message("{}: groups is {}; it must be at least 1", operation, groups));
  const std::int64_t channels = x.size(1), rows = weight.size(0);
  // As many input channels (output channels if transposed) as all groups together have.
  std::int64_t of_groups = 0;
  if (__builtin_mul_overflow(weight.size(1), groups, &of_groups)) of_groups = -1;
  const std::int64_t expected = transposes ? rows : of_groups, out = transposes ? of_groups : rows;
  if (channels != expected && expected >= 0)
    throw ShapeError(message("{}: the input has {} (shape {}), but the weight is for {} (shape {}{})",
                             operation, detail::counted(channels, "channel"), x.shape(), expected,
                             weight.shape(), groups == 1 ? "" : message(", groups = {}", groups)));
  if (of_groups < 0 || channels % groups != 0 || out % groups != 0)
    throw ValueError(
        message("{}: groups is {}; it must divide the {} input and the {} output channels (input {}, weight "
                "{})",
                operation, groups, channels, out, x.shape(), weight.shape()));
  DType dtype = promote(x.dtype(), weight.dtype());
  if (bias.defined()) {
    detail::require_floating(operation, "bias", bias);
    if (bias.shape() != Shape{out})
      throw ShapeError(message("{}: bias has shape {} but weight {}; bias must have shape {}", operation,
                               bias.shape(), weight.shape(), Shape{out}));
    dtype = promote(dtype, bias.dtype());
  }
  return {x.to(dtype), weight.to(dtype), bias.defined() ? bias.to(dtype) : bias};
}

// The extent of a transposed convolution's result along one dimension; at least 0.
std::int64_t transposed_extent(std::int64_t n, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                               std::int64_t output_padding, std::int64_t dilation) {
  std::int64_t steps = 0, reach = 0, extent = 0;
  if (__builtin_mul_overflow(n - 1, stride, &steps) || __builtin_mul_overflow(kernel - 1, dilation, &reach) ||
      __builtin_add_overflow(steps, reach, &extent) ||
      __builtin_add_overflow(extent, output_padding + 1, &extent) || padding > extent / 2)
    return 0;
  return extent - 2 * padding;
}

// Throws unless the padded images of `channels` channels and the result are small enough to exist. All
// offsets in the kernels then fit into 64 bits.
void require_room(const char* operation, const Tensor& x, Index channels, Index out,
                  const kernels::Windows& w) {
  const auto padded = [](Index extent, Index padding) {
    return static_cast<double>(extent) + 2 * static_cast<double>(padding);
  };
  const auto area = [&](Index planes, double height, double width) {
    return static_cast<double>(x.size(0)) * static_cast<double>(planes) * height * width;
  };
  const double images = area(channels, padded(w.height, w.padding_h), padded(w.width, w.padding_w));
  const double results = area(out, static_cast<double>(w.out_h), static_cast<double>(w.out_w));
  if (std::max(images, results) > 0x1p56)
    throw ShapeError(
        message("{}: input has shape {}; the result, or an image with its padding of {}, has too "
                "many elements",
                operation, x.shape(), Shape{w.padding_h, w.padding_w}));
}

}  // namespace

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
              const Conv2dFunctionalOptions& options) {
  const Arguments in = checked("conv2d", x, weight, bias, options.groups, 2, false);
  const kernels::Windows windows = detail::plan_windows(
      "conv2d", x.shape(), weight.shape(),
      {{weight.size(2), weight.size(3)}, options.stride, options.padding, options.dilation});
  require_room("conv2d", x, x.size(1), weight.size(0), windows);
  return convolved(in.x, in.weight, in.bias,
                   {x.size(0), options.groups, weight.size(1), weight.size(0) / options.groups, windows});
}

Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias, Conv1dFunctionalOptions options) {
  const Arguments in = checked("conv1d", x, weight, bias, options.groups, 1, false);
  const Tensor image = unsqueeze(in.x, 2);
  const kernels::Windows windows = detail::plan_windows("conv1d", x.shape(), weight.shape(),
                                                        {.kernel = {1, weight.size(2)},
                                                         .stride = {1, options.stride},
                                                         .padding = {0, options.padding},
                                                         .dilation = {1, options.dilation},
                                                         .is_line = true});
  require_room("conv1d", x, x.size(1), weight.size(0), windows);
  return squeeze(
      convolved(image, unsqueeze(in.weight, 2), in.bias,
                {x.size(0), options.groups, weight.size(1), weight.size(0) / options.groups, windows},
                "conv1d"),
      2);
}

Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const ConvTranspose2dFunctionalOptions& o) {
  constexpr const char* operation = "conv_transpose2d";
  const Arguments in = checked(operation, x, weight, bias, o.groups, 2, true);
  const Size2d kernel{weight.size(2), weight.size(3)};
  detail::check_transposed(operation, kernel, o);
  const std::int64_t height = x.size(2), width = x.size(3);
  kernels::Windows w{.height = transposed_extent(height, kernel.height, o.stride.height, o.padding.height,
                                                 o.output_padding.height, o.dilation.height),
                     .width = transposed_extent(width, kernel.width, o.stride.width, o.padding.width,
                                                o.output_padding.width, o.dilation.width),
                     .kernel_h = kernel.height,
                     .kernel_w = kernel.width,
                     .stride_h = height == 1 ? 1 : o.stride.height,
                     .stride_w = width == 1 ? 1 : o.stride.width,
                     .padding_h = o.padding.height,
                     .padding_w = o.padding.width,
                     .dilation_h = o.dilation.height,
                     .dilation_w = o.dilation.width,
                     .out_h = height,
                     .out_w = width};
  if (height == 0 || width == 0 || w.height <= 0 || w.width <= 0)
    throw ShapeError(
        message("{}: input has shape {}, which leaves no result with a weight of {}, stride {} and "
                "padding {}",
                operation, x.shape(), weight.shape(), Shape{o.stride.height, o.stride.width},
                Shape{o.padding.height, o.padding.width}));
  require_room(operation, x, weight.size(1) * o.groups, x.size(1), w);
  return transposed(in.x, in.weight, in.bias,
                    {x.size(0), o.groups, weight.size(1), weight.size(0) / o.groups, w}, operation);
}

}  // namespace retort
