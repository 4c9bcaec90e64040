// Depthwise convolution of a register of channels at a time. Rows of any length, strides and dilations fill
// the registers, at the price of transposing the planes.
#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/conv_impl.hpp"
#include "retort/framework/kernels/micro_kernel_impl.hpp"

namespace retort::kernels {
namespace {

/// One dimension of a padded copy. Element i of the source is element first + i · spread of the copy, and
/// the window of position p begins at p · step.
struct Axis {
  Index source, extent, first, spread, step, positions;
};

Axis input_axis(Index n, Index kernel, Index stride, Index padding, Index dilation, Index positions) {
  return {n, (positions - 1) * stride + (kernel - 1) * dilation + 1, padding, 1, stride, positions};
}
/// For the adjoint: the gradients are `stride` apart, and the taps are read in reverse order.
Axis gradient_axis(Index n, Index kernel, Index stride, Index padding, Index dilation, Index positions) {
  const Index reach = (kernel - 1) * dilation;
  return {positions, n + reach, reach - padding, stride, 1, n};
}

/// A padded copy of planes, [rows][columns][lanes].
struct Padded {
  Axis h, w;

  template <class F>
  Padded(const Windows& windows, F axis)
      : h(axis(windows.height, windows.kernel_h, windows.stride_h, windows.padding_h, windows.dilation_h,
               windows.out_h)),
        w(axis(windows.width, windows.kernel_w, windows.stride_w, windows.padding_w, windows.dilation_w,
               windows.out_w)) {}
  Index source() const { return h.source * w.source; }
  Index size() const { return h.extent * w.extent; }
  Index positions() const { return h.positions * w.positions; }
};

/// Transposes `count` planes and writes their elements into the copy, whose other elements stay as they are.
template <class T>
void read_planes(const T* x, Index count, const Padded& p, T* transposed, T* copy) {
  transpose_in(x, p.source(), count, transposed);
  for (Index r = 0, row = p.h.first; r < p.h.source; ++r, row += p.h.spread) {
    if (row < 0 || row >= p.h.extent) continue;
    const T* from = transposed + r * p.w.source * lanes<T>;
    T* const to = copy + row * p.w.extent * lanes<T>;
    for (Index c = 0, column = p.w.first; c < p.w.source; ++c, column += p.w.spread, from += lanes<T>)
      if (column >= 0 && column < p.w.extent) store(to + column * lanes<T>, load(from));
  }
}

/// The weights [taps][lanes] of `count` channels, in reverse order for the adjoint.
template <class T>
void read_weights(const T* weight, Index taps, Index count, bool reversed, T* to) {
  transpose_in(weight, taps, count, to);
  for (Index t = 0; reversed && t < taps / 2; ++t)
    std::swap_ranges(to + t * lanes<T>, to + (t + 1) * lanes<T>, to + (taps - 1 - t) * lanes<T>);
}

/// y [positions][lanes] = start + Σ over the taps of weight · copy. Height and Width are the kernel's size,
/// or 0 for sizes that are not constants.
template <int Height, int Width, class T>
void sum_windows(const T* copy, const Padded& p, const Windows& w, const T* weights, const Batch<T>& start,
                 T* y) {
  const Index height = Height == 0 ? w.kernel_h : Height, width = Width == 0 ? w.kernel_w : Width;
  const Index down = w.dilation_h * p.w.extent * lanes<T>, right = w.dilation_w * lanes<T>;
  for (Index i = 0; i < p.h.positions; ++i)
    for (Index j = 0; j < p.w.positions; ++j, y += lanes<T>) {
      const T *row = copy + (i * p.h.step * p.w.extent + j * p.w.step) * lanes<T>, *weight = weights;
      Batch<T> sum = start;
      for (Index h = 0; h < height; ++h, row += down)
        for (Index v = 0; v < width; ++v, weight += lanes<T>)
          sum = fma<T>(load(weight), load(row + v * right), sum);
      store(y, sum);
    }
}

/// sums [taps][lanes] += Σ over the positions of g · copy, for Height rows of Width taps at a time.
template <int Height, int Width, class T>
void add_products(const T* copy, const Padded& p, const Windows& w, const T* g, T* sums) {
  const Index down = w.dilation_h * p.w.extent * lanes<T>, right = w.dilation_w * lanes<T>;
  for (Index h = 0; h < w.kernel_h; h += Height)
    for (Index v = 0; v < w.kernel_w; v += Width) {
      Batch<T> sum[Height][Width];
      T* const to = sums + (h * w.kernel_w + v) * lanes<T>;
      const auto each = [&](auto f) {
        unrolled<Height>([&](auto a) { unrolled<Width>([&](auto b) { f(a, b); }); });
      };
      each([&](auto a, auto b) { sum[a][b] = load(to + (a * w.kernel_w + b) * lanes<T>); });
      const T* upstream = g;
      for (Index i = 0; i < p.h.positions; ++i) {
        const T* from = copy + i * p.h.step * p.w.extent * lanes<T> + h * down + v * right;
        for (Index j = 0; j < p.w.positions; ++j, upstream += lanes<T>, from += p.w.step * lanes<T>) {
          const Batch<T> here = load(upstream);
          each([&](auto a, auto b) {
            sum[a][b] = fma<T>(here, load(from + a * down + b * right), sum[a][b]);
          });
        }
      }
      each([&](auto a, auto b) { store<T>(to + (a * w.kernel_w + b) * lanes<T>, sum[a][b]); });
    }
}

/// A block of channels of one image.
struct Block {
  Index plane, channel, count;
};
template <class T>
Block block_at(const Convolution& conv, Index image, Index block) {
  const Index channel = block * lanes<T>;
  return {image * conv.groups + channel, channel, std::min(lanes<T>, conv.groups - channel)};
}

/// Convolves all planes with the layout p; the adjoint reverses the taps.
template <class T>
void sum_all_windows(const T* x, const T* weight, const T* bias, T* y, const Convolution& conv,
                     const Padded& p, bool adjoint) {
  const Windows& w = conv.windows;
  const Index taps = w.window(), blocks = divide_up(conv.groups, lanes<T>);
  const Index work = (p.source() + taps * p.positions()) * lanes<T>;
  const Index plane = std::max(p.source(), p.positions());
  parallel_for(conv.images * blocks, std::max<Index>(1, 65536 / work), [&](Index begin, Index end) {
    T* const copy = scratch<T, 2>((p.size() + plane + taps) * lanes<T>);
    T *const transposed = copy + p.size() * lanes<T>, *const weights = transposed + plane * lanes<T>;
    std::fill_n(copy, p.size() * lanes<T>, T{0});
    for (Index i = begin; i < end; ++i) {
      const Block b = block_at<T>(conv, i / blocks, i % blocks);
      read_weights(weight + b.channel * taps, taps, b.count, adjoint, weights);
      read_planes(x + b.plane * p.source(), b.count, p, transposed, copy);
      const Batch<T> start = bias == nullptr ? Batch<T>(T{0}) : load_lanes(bias + b.channel, b.count, T{0});
      if (w.kernel_h == 3 && w.kernel_w == 3)
        sum_windows<3, 3>(copy, p, w, weights, start, transposed);
      else
        sum_windows<0, 0>(copy, p, w, weights, start, transposed);
      transpose_out(transposed, p.positions(), b.count, y + b.plane * p.positions());
    }
  });
}

}  // namespace

template <class T>
bool has_depthwise_lanes(const Convolution& conv) {
  if (conv.in != 1 || conv.out != 1) return false;
  const Windows& w = conv.windows;
  constexpr Index most = Index{1} << 21;  // bytes of a block's planes
  const Index registers = divide_up(conv.groups, lanes<T>);
  if ((Padded(w, input_axis).size() + Padded(w, gradient_axis).size()) * lanes<T> *
          static_cast<Index>(sizeof(T)) >
      most)
    return false;
  // Measured: rows of positions fill the registers as well if they are long and adjacent.
  return w.stride_w <= 2 && w.stride_h <= 2 &&
         (w.stride_w == 2 ? 2 * conv.groups > lanes<T> : w.out_w * registers * lanes<T> <= 28 * conv.groups);
}

template <class T>
void convolve_depthwise(const T* x, const T* weight, const T* bias, T* y, const Convolution& conv) {
  sum_all_windows(x, weight, bias, y, conv, Padded(conv.windows, input_axis), false);
}

template <class T>
void convolve_depthwise_transposed(const T* g, const T* weight, const T* bias, T* x,
                                   const Convolution& conv) {
  sum_all_windows(g, weight, bias, x, conv, Padded(conv.windows, gradient_axis), true);
}

template <class T>
void depthwise_weight_gradient(const T* x, const T* g, T* weight, const Convolution& conv) {
  const Windows& w = conv.windows;
  const Padded p(w, input_axis);
  const Index taps = w.window(), blocks = divide_up(conv.groups, lanes<T>);
  // Jobs sum over their own images. Their sums are added in a fixed order.
  const Index parts = std::min(conv.images, divide_up(8, blocks)), size = blocks * taps * lanes<T>;
  T* const sums = scratch<T, 1>(parts * size);
  parallel_for(parts * blocks, 1, [&](Index begin, Index end) {
    T* const copy = scratch<T, 2>((p.size() + p.source() + p.positions()) * lanes<T>);
    T *const transposed = copy + p.size() * lanes<T>, *const upstream = transposed + p.source() * lanes<T>;
    std::fill_n(copy, p.size() * lanes<T>, T{0});
    for (Index job = begin; job < end; ++job) {
      const Index part = job / blocks;
      T* const to = sums + job * taps * lanes<T>;
      std::fill_n(to, taps * lanes<T>, T{0});
      for (Index n = conv.images * part / parts; n < conv.images * (part + 1) / parts; ++n) {
        const Block b = block_at<T>(conv, n, job % blocks);
        read_planes(x + b.plane * p.source(), b.count, p, transposed, copy);
        transpose_in(g + b.plane * p.positions(), p.positions(), b.count, upstream);
        if (w.kernel_h == 3 && w.kernel_w == 3)
          add_products<3, 3>(copy, p, w, upstream, to);
        else if (w.kernel_w == 5)
          add_products<1, 5>(copy, p, w, upstream, to);
        else if (w.kernel_w == 7)
          add_products<1, 7>(copy, p, w, upstream, to);
        else
          add_products<1, 1>(copy, p, w, upstream, to);
      }
    }
  });
  for (Index part = 1; part < parts; ++part)
    for (Index i = 0; i < size; i += lanes<T>)
      store<T>(sums + i, load(sums + i) + load(sums + part * size + i));
  for (Index block = 0; block < blocks; ++block) {
    const Block b = block_at<T>(conv, 0, block);
    transpose_out(sums + block * taps * lanes<T>, taps, b.count, weight + b.channel * taps);
  }
}

template bool has_depthwise_lanes<float>(const Convolution&);
template bool has_depthwise_lanes<double>(const Convolution&);
template void convolve_depthwise(const float*, const float*, const float*, float*, const Convolution&);
template void convolve_depthwise(const double*, const double*, const double*, double*, const Convolution&);
template void convolve_depthwise_transposed(const float*, const float*, const float*, float*,
                                            const Convolution&);
template void convolve_depthwise_transposed(const double*, const double*, const double*, double*,
                                            const Convolution&);
template void depthwise_weight_gradient(const float*, const float*, float*, const Convolution&);
template void depthwise_weight_gradient(const double*, const double*, double*, const Convolution&);

}  // namespace retort::kernels
