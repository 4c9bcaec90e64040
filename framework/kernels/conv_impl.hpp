// The common form of convolutions: correlations of padded images.
#pragma once

#include <algorithm>
#include <vector>

#include "retort/framework/kernels/conv.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {

inline Index divide_up(Index a, Index b) { return (a + b - 1) / b; }

/// One dimension of a correlation. Position p reads the source elements p·stride + offset - padding, one per
/// tap, and its result is stored at first + p·step of the destination.
struct Line {
  Index source = 1, positions = 1, stride = 1, padding = 0;
  std::vector<Index> offsets{0};
  std::vector<Index> taps{0};  ///< indices of the taps in the kernel
  Index extent = 1, first = 0, step = 1;

  Index reach() const { return *std::max_element(offsets.begin(), offsets.end()); }
  /// True if no position reads outside the source.
  bool stays_inside() const { return padding <= 0 && (positions - 1) * stride + reach() - padding < source; }
};

/// A correlation of images [images, groups·in, h.source, w.source] to [images, groups·out, h.extent,
/// w.extent].
struct Correlation {
  Index images, groups, in, out;
  Line h, w;
  Index weight_in, weight_out,
      kernel_w;  ///< distances between the weights of adjacent channels and tap rows

  Index taps() const { return static_cast<Index>(h.offsets.size() * w.offsets.size()); }
  Index source_plane() const { return h.source * w.source; }
  Index plane() const { return h.extent * w.extent; }
  Index positions() const { return h.positions * w.positions; }
  Index weights_of_group() const { return std::max(weight_in * in, weight_out * out); }
};

/// The location of a job's input: the images themselves, or padded copies. In a copy for rows of positions,
/// columns are grouped by their remainder modulo the stride, so that adjacent positions read adjacent
/// elements.
struct Source {
  bool direct;
  Index rows, row, pitch, phase, phases, channel, image;

  /// For jobs of up to h_positions rows of positions and `channels` channels.
  Source(const Correlation& c, Index h_positions, Index channels, bool by_rows) {
    direct = c.taps() == 1 && c.w.stride == 1 && c.h.stays_inside() && c.w.stays_inside();
    pitch = by_rows ? 1 : c.w.stride;
    rows = (h_positions - 1) * c.h.stride + c.h.reach() + 1;
    row = direct ? c.w.source : (c.w.positions - 1) * pitch + c.w.reach() * pitch / c.w.stride + 1;
    phases = std::min(c.w.stride / pitch, c.w.reach() + 1);
    phase = rows * row;
    // Copies of channels and images are an odd number of cache lines apart: they do not compete for cache
    // sets.
    channel = direct ? c.source_plane() : (divide_up(phases * phase, 16) | 1) * 16;
    image = direct ? c.groups * c.in * channel : (channels * channel / 16 | 1) * 16;
  }
  /// The offset of each tap of `channels` channels.
  std::vector<Index> offsets(const Correlation& c, Index channels) const {
    std::vector<Index> result;
    for (Index k = 0; k < channels; ++k)
      for (const Index h : c.h.offsets)
        for (const Index w : c.w.offsets)
          result.push_back(k * channel + h * row +
                           (pitch == c.w.stride ? w : w % c.w.stride * phase + w / c.w.stride));
    return result;
  }
  /// The offset of each position of `images` images with `lines` rows of positions.
  std::vector<Index> places(const Correlation& c, Index images, Index lines) const {
    std::vector<Index> result;
    for (Index i = 0; i < images; ++i)
      for (Index line = 0; line < lines; ++line)
        for (Index p = 0; p < c.w.positions; ++p)
          result.push_back(i * image + line * c.h.stride * row + p * pitch);
    return result;
  }
};

/// Copies one plane with padding, starting at source row first_row (which may be negative). Up to a
/// register of elements after the copy is overwritten.
template <class T>
void pad_plane(const T* x, T* to, const Correlation& c, const Source& s, Index first_row) {
  const auto fill = [](T* from, T* end) {
    if (from < end) store(from, Batch<T>(T{0}));
    if (from + lanes<T> < end) std::fill(from + lanes<T>, end, T{0});
  };
  const Index length = s.row, source = c.w.source, height = c.h.source, padding = c.w.padding;
  // Without phases, columns [begin, end) are inside the source.
  const Index begin = std::clamp<Index>(padding, 0, length),
              end = std::clamp<Index>(source + padding, begin, length);
  for (Index phase = 0; phase < s.phases; ++phase)
    for (Index row = first_row; row < first_row + s.rows; ++row, to += length) {
      if (row < 0 || row >= height) {
        fill(to, to + length);
      } else if (s.pitch == c.w.stride) {
        const T* const from = x + row * source - padding;
        fill(to, to + begin);
        Index k = begin;
        for (; k < end; k += lanes<T>) {
          store(to + k, load_lanes(from + k, std::min(lanes<T>, end - k), T{0}));
          prefetch(from + k + ahead);
        }
        fill(to + k, to + length);
      } else {
        Columns(source, phase - padding, c.w.stride, length).read(x + row * source, T{0}, to);
      }
    }
}

/// The input of channels [first, last) of one group for images [n, end) from row of positions y on, in the
/// layout of `s`.
template <class T>
const T* read_images(const T* x, const Correlation& c, const Source& s, Index group, Index n, Index end,
                     Index y, Index first, Index last) {
  const Index row = y * c.h.stride - c.h.padding;
  x += ((n * c.groups + group) * c.in + first) * c.source_plane();
  if (s.direct) return x + row * c.w.source - c.w.padding;
  T* const copies = scratch<T, 2>((end - n) * s.image + 2 * lanes<T>);
  for (T* to = copies; n < end; ++n, to += s.image, x += c.groups * c.in * c.source_plane())
    for (Index k = 0; k < last - first; ++k)
      pad_plane(x + k * c.source_plane(), to + k * s.channel, c, s, row);
  return copies;
}

/// y = x correlated with the weight, plus the bias unless it is null.
template <class T>
void correlate_channels(const T* x, const T* weight, const T* bias, T* y, const Correlation& c);
/// The same for kernels of several taps and not too few output channels.
template <class T>
void correlate_gathered(const T* x, const T* weight, const T* bias, T* y, const Correlation& c);
/// The same for groups with one input and one output channel.
template <class T>
void correlate_planes(const T* x, const T* weight, const T* bias, T* y, const Correlation& c);

/// The gradient of the weight for gradients g of the results.
template <class T>
void weight_gradient_of_channels(const T* x, const T* g, T* weight, const Correlation& c);
/// The same for few output channels per group.
template <class T>
void weight_gradient_of_planes(const T* x, const T* g, T* weight, const Correlation& c);

/// True if planes of a depthwise convolution fit a register of channels at a time.
template <class T>
bool has_depthwise_lanes(const Convolution& conv);
/// convolve(), convolve_transposed() and convolve_weight_gradient() for such convolutions.
template <class T>
void convolve_depthwise(const T* x, const T* weight, const T* bias, T* y, const Convolution& conv);
template <class T>
void convolve_depthwise_transposed(const T* g, const T* weight, const T* bias, T* x, const Convolution& conv);
template <class T>
void depthwise_weight_gradient(const T* x, const T* g, T* weight, const Convolution& conv);

}  // namespace retort::kernels
