// The gradient of a convolution's weight: taps × output channels, summed over positions.
#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/conv_gathered_impl.hpp"

namespace retort::kernels {

template <class T>
void weight_gradient_of_channels(const T* x, const T* g, T* weight, const Correlation& c) {
  const Index taps = c.taps(), depth = c.in * taps, room = divide_up(c.out, lanes<T>) * lanes<T>;
  // Jobs sum over their own images, for some of the input channels. Their sums are added in a fixed order.
  const Index size = c.groups * depth * room;
  const Index image_chunks = std::clamp<Index>((Index{1} << 20) / size, 1, std::min<Index>(c.images, 8));
  const Index channel_chunks = std::min(c.in, divide_up(8, image_chunks * c.groups));
  // A product sums over the positions of several small images, or over some rows of positions of a large one.
  const Index images =
                  std::clamp<Index>(gathered_depth / c.positions(), 1, divide_up(c.images, image_chunks)),
              lines = std::clamp<Index>(gathered_depth / c.w.positions, 1, c.h.positions);
  const Index most_channels = divide_up(c.in, channel_chunks);
  const Source source(c, c.h.positions, most_channels, false);
  std::vector<std::vector<Part>> parts;  // of each block of lines
  for (Index line = 0; line < c.h.positions; line += lines)
    parts.push_back(parts_of(c, source, images, line, std::min(c.h.positions, line + lines), most_channels,
                             true, images * lines * c.w.positions,
                             std::min<Index>(room / lanes<T>, panel_registers)));
  T* const sums = scratch<T, 1>(image_chunks * size);
  const auto run = [&](Index job) {
    const Index chunk = job % channel_chunks, group = job / channel_chunks % c.groups,
                part = job / channel_chunks / c.groups;
    const Index first = c.in * chunk / channel_chunks, last = c.in * (chunk + 1) / channel_chunks;
    T* const to = sums + part * size + (group * depth + first * taps) * room;
    std::fill_n(to, (last - first) * taps * room, T{0});
    T* const transposed = scratch<T, 3>(images * lines * c.w.positions * room);
    const Index end = c.images * (part + 1) / image_chunks;
    for (Index n = c.images * part / image_chunks, some; n < end; n += some) {
      some = std::min(images, end - n);
      const T* const from = read_images(x, c, source, group, n, n + some, 0, first, last);
      for (Index line = 0; line < c.h.positions; line += lines) {
        const Index count = std::min(lines, c.h.positions - line) * c.w.positions;
        for_panels<T>(room, [&]<int Registers>(Index column) {
          constexpr Index width = Registers * lanes<T>;
          const Index columns = std::min(width, c.out - column);
          T* panel = transposed + column * some * count;
          if (columns < width) std::fill_n(panel, width * some * count, T{0});
          for (Index i = n; i < n + some; ++i, panel += width * count)
            transpose(g + ((i * c.groups + group) * c.out + column) * c.positions() + line * c.w.positions,
                      c.positions(), columns, count, panel, width);
        });
        gathered_product(from + line * c.h.stride * source.row, parts[static_cast<std::size_t>(line / lines)],
                         (last - first) * taps, 0, some * count, transposed, static_cast<const T*>(nullptr),
                         to, room);
      }
    }
  };
  parallel_for(image_chunks * c.groups * channel_chunks, 1, [&](Index begin, Index end) {
    for (Index job = begin; job < end; ++job) run(job);
  });
  parallel_for(c.groups * depth, std::max<Index>(1, 16384 / room), [&](Index begin, Index end) {
    for (Index part = 1; part < image_chunks; ++part)
      for (Index i = begin * room; i < end * room; i += lanes<T>)
        store(sums + i, load(sums + i) + load(sums + part * size + i));
  });
  for (Index i = 0; i < c.groups * channel_chunks; ++i) {
    const Index group = i / channel_chunks, first = c.in * (i % channel_chunks) / channel_chunks * taps,
                last = c.in * (i % channel_chunks + 1) / channel_chunks * taps;
    transpose_panels(sums + (group * depth + first) * room, 0, last - first, last - first, c.out,
                     weight + group * c.out * depth + first, depth);
  }
}

template void weight_gradient_of_channels(const float*, const float*, float*, const Correlation&);
template void weight_gradient_of_channels(const double*, const double*, double*, const Correlation&);

}  // namespace retort::kernels
