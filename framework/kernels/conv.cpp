#include "retort/framework/kernels/conv.hpp"

#include "retort/framework/kernels/conv_impl.hpp"
#include "retort/framework/kernels/micro_kernel_impl.hpp"

namespace retort::kernels {
namespace {

/// True if lanes should be output channels rather than positions: the measured costs per position and step
/// are compared, in units of half a register. Lanes of positions need a packed copy, which costs more for
/// short rows; lanes of channels are padded to whole registers, and the results are transposed.
template <class T>
bool gathers(const Correlation& c) {
  if (c.taps() == 1 && c.w.stride == 1 && c.h.stays_inside() && c.w.stays_inside()) return false;
  const auto number = [](Index n) { return static_cast<double>(n); };
  const double width = 2 * number(lanes<T>), out = number(c.out), depth = number(c.in * c.taps()),
               registers = std::max(number(divide_up(c.out, lanes<T>)), panel_registers == 4 ? 1.75 : 1.5);
  return 1.2 * out + 3 + 3 * width / number(c.w.positions) >= width / 2 * registers + 2 + 16 * out / depth;
}

template <class T>
void correlate(const T* x, const T* weight, const T* bias, T* y, const Correlation& c) {
  if (c.in == 1 && c.out == 1)
    correlate_planes(x, weight, bias, y, c);
  else if (gathers<T>(c))
    correlate_gathered(x, weight, bias, y, c);
  else
    correlate_channels(x, weight, bias, y, c);
}

std::vector<Index> range(Index n, Index step) {
  std::vector<Index> result;
  for (Index i = 0; i < n; ++i) result.push_back(i * step);
  return result;
}

Line forward_line(Index source, Index kernel, Index stride, Index padding, Index dilation, Index positions) {
  return {.source = source,
          .positions = positions,
          .stride = stride,
          .padding = padding,
          .offsets = range(kernel, dilation),
          .taps = range(kernel, 1),
          .extent = positions};
}

Correlation forward_correlation(const Convolution& conv) {
  const Windows& w = conv.windows;
  Correlation c{.images = conv.images,
                .groups = conv.groups,
                .in = conv.in,
                .out = conv.out,
                .h = forward_line(w.height, w.kernel_h, w.stride_h, w.padding_h, w.dilation_h, w.out_h),
                .w = forward_line(w.width, w.kernel_w, w.stride_w, w.padding_w, w.dilation_w, w.out_w),
                .weight_in = w.window(),
                .weight_out = conv.in * w.window(),
                .kernel_w = w.kernel_w};
  return c;
}

/// Splits one dimension of the adjoint by stride: elements of x with the same remainder modulo the stride are
/// reached by the same taps, and only by those.
std::vector<Line> adjoint_lines(Index extent, Index kernel, Index stride, Index padding, Index dilation,
                                Index positions) {
  std::vector<Line> lines;
  for (Index k = 0; k < kernel; ++k) {
    const Index rest = k * dilation % stride;
    const auto same = [&](Index other) { return other * dilation % stride == rest; };
    bool seen = false;
    for (Index other = 0; other < k; ++other) seen = seen || same(other);
    const Index last = extent - 1 + padding - rest;
    if (seen || last < 0) continue;
    // Element u·stride + rest - padding of x receives position u - (tap · dilation - rest) / stride.
    const Index first = padding > rest ? divide_up(padding - rest, stride) : 0;
    Line line{.source = positions,
              .positions = last / stride - first + 1,
              .extent = extent,
              .first = first * stride + rest - padding,
              .step = stride};
    if (line.positions <= 0) continue;
    line.offsets.clear(), line.taps.clear();
    for (Index tap = kernel; tap-- > 0;)
      if (same(tap)) line.taps.push_back(tap);
    const auto position = [&](Index tap) { return (tap * dilation - rest) / stride; };
    const Index greatest = position(line.taps.front());
    for (const Index tap : line.taps) line.offsets.push_back(greatest - position(tap));
    line.padding = greatest - first;
    lines.push_back(line);
  }
  return lines;
}

/// With a 1×1 kernel and neither stride nor padding, a small plane is treated as one long row, which gives
/// fewer and longer segments.
void flatten(Correlation& c) {
  Line &h = c.h, &w = c.w;
  const auto plain = [](const Line& line) {
    return line.offsets.size() == 1 && line.offsets[0] == 0 && line.stride == 1 && line.padding == 0 &&
           line.step == 1 && line.positions == line.source && line.positions == line.extent;
  };
  if (!plain(h) || !plain(w) || c.positions() > 1024) return;
  w.source = w.positions = w.extent = c.positions();
  h.source = h.positions = h.extent = 1;
}

}  // namespace

template <class T>
void convolve(const T* x, const T* weight, const T* bias, T* y, const Convolution& conv) {
  const Index channels = conv.groups * conv.out, positions = conv.windows.positions();
  if (conv.images * channels * positions == 0) return;
  if (conv.in == 0) {
    for (Index plane = 0; plane < conv.images * channels; ++plane)
      std::fill_n(y + plane * positions, positions, bias == nullptr ? T{0} : bias[plane % channels]);
    return;
  }
  if (has_depthwise_lanes<T>(conv)) return convolve_depthwise(x, weight, bias, y, conv);
  Correlation c = forward_correlation(conv);
  flatten(c);
  correlate(x, weight, bias, y, c);
}

template <class T>
void convolve_transposed(const T* g, const T* weight, const T* bias, T* x, const Convolution& conv) {
  const Windows& w = conv.windows;
  const Index channels = conv.groups * conv.in, planes = conv.images * channels;
  if (planes * w.plane() == 0) return;
  if (w.positions() > 0 && has_depthwise_lanes<T>(conv))
    return convolve_depthwise_transposed(g, weight, bias, x, conv);
  const auto h_lines = adjoint_lines(w.height, w.kernel_h, w.stride_h, w.padding_h, w.dilation_h, w.out_h);
  const auto w_lines = adjoint_lines(w.width, w.kernel_w, w.stride_w, w.padding_w, w.dilation_w, w.out_w);
  Index rows = 0, columns = 0;
  for (const Line& line : h_lines) rows += line.positions;
  for (const Line& line : w_lines) columns += line.positions;
  if (conv.out == 0 || rows < w.height || columns < w.width)
    for (Index plane = 0; plane < planes; ++plane)
      std::fill_n(x + plane * w.plane(), w.plane(), bias == nullptr ? T{0} : bias[plane % channels]);
  if (conv.out == 0) return;
  for (const Line& h : h_lines)
    for (const Line& v : w_lines) {
      Correlation c{.images = conv.images,
                    .groups = conv.groups,
                    .in = conv.out,
                    .out = conv.in,
                    .h = h,
                    .w = v,
                    .weight_in = conv.in * w.window(),
                    .weight_out = w.window(),
                    .kernel_w = w.kernel_w};
      flatten(c);
      correlate(g, weight, bias, x, c);
    }
}

template <class T>
void convolve_weight_gradient(const T* x, const T* g, T* weight, const Convolution& conv) {
  const Index size = conv.groups * conv.out * conv.in * conv.windows.window();
  if (size == 0 || conv.images == 0) {
    std::fill_n(weight, size, T{0});
    return;
  }
  if (has_depthwise_lanes<T>(conv)) return depthwise_weight_gradient(x, g, weight, conv);
  Correlation c = forward_correlation(conv);
  flatten(c);
  // With few output channels, most lanes of channels are unused; lanes of positions are unused where rows are
  // short.
  if (2 * c.out <= lanes<T> && c.out * divide_up(c.w.positions, lanes<T>) <= c.w.positions + 1)
    weight_gradient_of_planes(x, g, weight, c);
  else
    weight_gradient_of_channels(x, g, weight, c);
}

template void convolve(const float*, const float*, const float*, float*, const Convolution&);
template void convolve(const double*, const double*, const double*, double*, const Convolution&);
template void convolve_transposed(const float*, const float*, const float*, float*, const Convolution&);
template void convolve_transposed(const double*, const double*, const double*, double*, const Convolution&);
template void convolve_weight_gradient(const float*, const float*, float*, const Convolution&);
template void convolve_weight_gradient(const double*, const double*, double*, const Convolution&);

}  // namespace retort::kernels
