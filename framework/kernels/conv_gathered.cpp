// Convolution with output channels as lanes. The input is read in place, element by element.
#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/conv_gathered_impl.hpp"

namespace retort::kernels {
namespace {

/// Writes the weights of one group as panels: steps are the taps of input channels, columns output channels.
template <class T>
void pack_weights(const T* weight, const Correlation& c, const std::vector<Index>& taps, Index first,
                  Index last, T* packed) {
  const Index depth = c.in * c.taps();
  for_panels<T>(last - first, [&]<int Registers>(Index column) {
    constexpr Index width = Registers * lanes<T>;
    const Index columns = std::min(width, last - first - column);
    const T* from = weight + (first + column) * c.weight_out;
    T* to = packed + column * depth;
    if (columns < width) std::fill_n(to, depth * width, T{0});
    for (Index k = 0; k < c.in; ++k, from += c.weight_in)
      for (const Index tap : taps) {
        for (Index i = 0; i < columns; ++i) to[i] = from[tap + i * c.weight_out];
        to += width;
      }
  });
}

/// The division into jobs: by images, bands of rows of positions, groups and blocks of output channels.
struct Jobs {
  Index images, bands, blocks, image_chunks, count;
  explicit Jobs(const Correlation& c) {
    const Index positions = c.positions();
    images = std::clamp<Index>(256 / positions, 1, std::max<Index>(1, c.images / 4));
    bands = std::clamp<Index>(positions / 256, 1, c.h.positions);
    image_chunks = divide_up(c.images, images);
    const Index whole = image_chunks * bands * c.groups;
    blocks =
        std::max(divide_up(c.out, 512), whole < 8 ? std::min(divide_up(c.out, 64), divide_up(8, whole)) : 1);
    count = whole * blocks;
  }
  /// The first row of positions of a band.
  Index top(const Correlation& c, Index band) const { return c.h.positions * band / bands; }
};

}  // namespace

template <class T>
void correlate_gathered(const T* x, const T* weight, const T* bias, T* y, const Correlation& c) {
  const Jobs jobs(c);
  const Source source(c, divide_up(c.h.positions, jobs.bands), c.in, false);
  const Index depth = c.in * c.taps(), deepest = divide_up(depth, divide_up(depth, gathered_depth)),
              registers = divide_up(c.out, lanes<T>), room = registers * lanes<T>;
  std::vector<std::vector<Part>> parts;  // of each band
  for (Index band = 0; band < jobs.bands; ++band)
    parts.push_back(parts_of(c, source, jobs.images, jobs.top(c, band), jobs.top(c, band + 1), c.in, false,
                             deepest, std::min<Index>(registers, panel_registers)));
  std::vector<Index> taps;
  for (const Index h : c.h.taps)
    for (const Index w : c.w.taps) taps.push_back(h * c.kernel_w + w);
  const auto first_of = [&](Index block) { return registers * block / jobs.blocks * lanes<T>; };
  T* const packed = scratch<T, 1>(c.groups * room * (depth + 1));
  T* const starts = packed + c.groups * room * depth;
  parallel_for(c.groups * jobs.blocks, 1, [&](Index begin, Index end) {
    for (Index job = begin; job < end; ++job) {
      const Index group = job / jobs.blocks, first = first_of(job % jobs.blocks),
                  last = std::min(c.out, first_of(job % jobs.blocks + 1));
      pack_weights(weight + group * c.weights_of_group(), c, taps, first, last,
                   packed + (group * room + first) * depth);
      for (Index i = first; i < first_of(job % jobs.blocks + 1); ++i)
        starts[group * room + i] = bias != nullptr && i < c.out ? bias[group * c.out + i] : T{0};
    }
  });
  const auto run = [&](Index job) {
    const Index block = job % jobs.blocks, band = job / jobs.blocks % jobs.bands,
                group = job / jobs.blocks / jobs.bands % c.groups,
                n = job / jobs.blocks / jobs.bands / c.groups * jobs.images,
                images = std::min(c.images - n, jobs.images);
    const Index first = first_of(block), last = std::min(c.out, first_of(block + 1)),
                width = first_of(block + 1) - first;
    const Index top = jobs.top(c, band), height = jobs.top(c, band + 1) - top,
                count = height * c.w.positions;  // per image
    const T* const from = read_images(x, c, source, group, n, n + images, top, 0, c.in);
    const bool adjacent = c.w.step == 1 && c.h.step == 1 && c.w.positions == c.w.extent;
    T* const sums = scratch<T, 3>(images * count * width + (adjacent ? 0 : (last - first) * count));
    T* const plane = sums + images * count * width;
    for (Index step = 0; step < depth; step += deepest)
      gathered_product(from, parts[static_cast<std::size_t>(band)], images * count, step / deepest, depth,
                       packed + (group * room + first) * depth,
                       step == 0 ? starts + group * room + first : nullptr, sums, width);
    for (Index i = 0; i < images; ++i) {
      T* const to = y + (((n + i) * c.groups + group) * c.out + first) * c.plane();
      transpose_panels(sums, i * count, images * count, count, last - first,
                       adjacent ? to + (c.h.first + top) * c.w.extent : plane, adjacent ? c.plane() : count);
      for (Index k = 0; k < last - first && !adjacent; ++k)
        for (Index line = 0; line < height; ++line) {
          const T* const at = plane + k * count + line * c.w.positions;
          T* const row = to + k * c.plane() + (c.h.first + (top + line) * c.h.step) * c.w.extent + c.w.first;
          for (Index p = 0; p < c.w.positions; ++p) row[p * c.w.step] = at[p];
        }
    }
  };
  parallel_for(jobs.count, 1, [&](Index begin, Index end) {
    for (Index job = begin; job < end; ++job) run(job);
  });
}

template void correlate_gathered(const float*, const float*, const float*, float*, const Correlation&);
template void correlate_gathered(const double*, const double*, const double*, double*, const Correlation&);

}  // namespace retort::kernels
