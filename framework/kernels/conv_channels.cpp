// Convolution of channels: the input is packed in panels for the micro-kernel.
#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/conv_impl.hpp"
#include "retort/framework/kernels/micro_kernel_impl.hpp"

namespace retort::kernels {
namespace {

template <class T>
inline constexpr Index width = 2 * lanes<T>;

/// `count` adjacent positions of one image row: columns of a panel from `column` on, read from the source at
/// `from` and stored at `to`.
struct Segment {
  Index column, count, from, to;
};
template <class T>
struct Segments {
  Segment list[width<T>];
  int count = 0;
  bool contiguous = true;  ///< the whole panel is contiguous in the destination
};

/// Packs one panel: row p contains the elements at offsets[p] of each segment, contiguously. If Exact,
/// nothing after a segment is read.
template <bool Exact, class T>
void pack_b(const T* x, const Index* offsets, Index depth, const Segments<T>& segments, T* panel) {
  if (segments.count == 1 && segments.list[0].count == width<T>) {
    x += segments.list[0].from;
    for (Index p = 0; p < depth; ++p, panel += width<T>)
      for (Index k = 0; k < width<T>; k += lanes<T>) store(panel + k, load(x + offsets[p] + k));
    return;
  }
  // A store may overlap the next segment or row, which are both written later.
  for (Index p = 0; p < depth; ++p, panel += width<T>)
    for (int s = 0; s < segments.count; ++s) {
      const Segment& of = segments.list[s];
      const T* const from = x + offsets[p] + of.from;
      for (Index k = 0; k < of.count; k += lanes<T>)
        store(panel + of.column + k,
              Exact ? load_lanes(from + k, std::min(lanes<T>, of.count - k), T{0}) : load(from + k));
    }
}

/// Rows × Registers results: added to the destination, or in the first step stored with the bias. b(p) has
/// the panel's elements for step p.
template <int Rows, int Registers, class T, class B>
void micro_kernel(const T* a, B b, Index depth, const T* bias, bool first, T* y, Index plane,
                  const Segments<T>& segments, Index columns, Index step) {
  Batch<T> sums[Rows][Registers];
  for (int i = 0; i < Rows; ++i)
    for (Batch<T>& sum : sums[i]) sum = Batch<T>(first && bias != nullptr ? bias[i] : T{0});
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Registers; ++j)
      __builtin_prefetch(y + segments.list[0].to + i * plane + j * lanes<T>, 1);
  accumulate(depth, a, Rows, 1, b, sums);
  if (segments.contiguous) {
    y += segments.list[0].to;
    for (int i = 0; i < Rows; ++i, y += plane)
      for (int j = 0; j < Registers && columns > j * lanes<T>; ++j) {
        const Index count = std::min(lanes<T>, columns - j * lanes<T>);
        const Batch<T> v = first ? sums[i][j] : sums[i][j] + load_lanes(y + j * lanes<T>, count, T{0});
        store_lanes(y + j * lanes<T>, v, count);
      }
    return;
  }
  // All rows are stored before the first is read, since a load waits for a recent store to its address.
  alignas(64) T tile[Rows][width<T> + lanes<T>];
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Registers; ++j) store(&tile[i][j * lanes<T>], sums[i][j]);
  for (int s = 0; s < segments.count; ++s) {
    const Segment& of = segments.list[s];
    T* to = y + of.to;
    for (int i = 0; i < Rows; ++i, to += plane) {
      const T* const from = &tile[i][of.column];
      if (step == 1)
        for (Index k = 0; k < of.count; k += lanes<T>) {
          const Index count = std::min(lanes<T>, of.count - k);
          const Batch<T> v = load(from + k);
          store_lanes(to + k, first ? v : v + load_lanes(to + k, count, T{0}), count);
        }
      else
        for (Index k = 0; k < of.count; ++k) to[k * step] = first ? from[k] : to[k * step] + from[k];
    }
  }
}

/// The division of a correlation into jobs: by images, bands of rows of positions, groups and blocks of
/// output channels.
struct Jobs {
  Index images, image_chunks, bands, row_blocks, count;
  explicit Jobs(const Correlation& c) {
    const Index positions = c.positions();
    images = positions >= 128 ? 1 : std::clamp<Index>(256 / positions, 1, std::max<Index>(1, c.images / 4));
    image_chunks = divide_up(c.images, images);
    bands = images > 1 ? 1 : std::clamp<Index>(positions / 1024, 1, c.h.positions);
    const Index whole = image_chunks * bands * c.groups;
    row_blocks = std::max(divide_up(c.out, 512),
                          whole < 8 ? std::min(divide_up(c.out, 4 * tile_rows), divide_up(8, whole)) : 1);
    count = whole * row_blocks;
  }
  Index row(const Correlation& c, Index block) const { return c.out * block / row_blocks; }
  Index band(const Correlation& c, Index i) const { return c.h.positions * i / bands; }
};

/// Packs the weights of all groups in the micro-kernel's order: by blocks of rows and `deepest` steps, then
/// by tiles.
template <class T>
void pack_a(const T* weight, const Correlation& c, const Jobs& jobs, Index deepest, T* packed) {
  const Index taps = c.taps(), depth = c.in * taps;
  std::vector<Index> offsets;
  for (const Index h : c.h.taps)
    for (const Index w : c.w.taps) offsets.push_back(h * c.kernel_w + w);
  parallel_for(c.groups * jobs.row_blocks, 1, [&](Index begin, Index end) {
    for (Index job = begin; job < end; ++job) {
      const Index group = job / jobs.row_blocks, block = job % jobs.row_blocks;
      const Index row = jobs.row(c, block), last = jobs.row(c, block + 1);
      T* to = packed + (group * c.out + row) * depth;
      for (Index first = 0; first < depth; first += deepest)
        for_low_tiles<tile_rows>(row, last, [&]<int Rows>(Index tile) {
          const T* w = weight + group * c.weights_of_group() + tile * c.weight_out;
          Index channel = first / taps, tap = first % taps;
          for (Index p = first; p < std::min(depth, first + deepest); ++p, to += Rows) {
            const Index here = channel * c.weight_in + offsets[tap];
            for (int i = 0; i < Rows; ++i) to[i] = w[here + i * c.weight_out];
            if (++tap == taps) tap = 0, ++channel;
          }
        });
    }
  });
}

}  // namespace

template <class T>
void correlate_channels(const T* x, const T* weight, const T* bias, T* y, const Correlation& c) {
  const Jobs jobs(c);
  const Source source(c, divide_up(c.h.positions, jobs.bands), c.in, true);
  // With few output channels, packing a panel does not pay off, least of all if it spans many image rows. The
  // product then reads the padded copies, and also computes the columns between two image rows.
  const Index length = c.w.positions, between = source.row - length;
  const bool few =
      c.out < 4 || ((length < width<T> || c.out <= tile_rows) && c.out * between <= 8 * (length + width<T>));
  const bool packs = source.direct || c.h.stride != 1 || !few;
  const Index depth = c.in * c.taps(),
              deepest = packs ? divide_up(depth, divide_up(depth, panel_depth)) : depth,
              span = packs ? c.w.positions : source.row;
  const std::vector<Index> offsets = source.offsets(c, c.in);
  T* const packed = scratch<T, 1>(c.groups * c.out * depth);
  pack_a(weight, c, jobs, deepest, packed);
  const auto run = [&](Index job) {
    const Index block = job % jobs.row_blocks, band = job / jobs.row_blocks % jobs.bands,
                group = job / jobs.row_blocks / jobs.bands % c.groups,
                n = job / jobs.row_blocks / jobs.bands / c.groups * jobs.images,
                last_n = std::min(c.images, n + jobs.images);
    const Index row = jobs.row(c, block), last_row = jobs.row(c, block + 1);
    const Index top = jobs.band(c, band), height = jobs.band(c, band + 1) - top;
    const Index columns = (height - 1) * span + c.w.positions;  // per image
    const T* const from = read_images(x, c, source, group, n, last_n, top, 0, c.in);
    T* const to = y + (n * c.groups + group) * c.out * c.plane();
    const auto segments_at = [&](Index column, Index count) {
      Segments<T> segments;
      Index image = column / columns, line = column % columns / span, place = column % columns % span;
      for (Index filled = 0; filled < count;) {
        const Segment next{filled, std::min(count - filled, c.w.positions - place),
                           image * source.image + line * c.h.stride * source.row + place,
                           image * c.groups * c.out * c.plane() +
                               (c.h.first + (top + line) * c.h.step) * c.w.extent + c.w.first +
                               place * c.w.step};
        if (next.count > 0) {
          segments.contiguous = segments.contiguous && c.w.step == 1 &&
                                (filled == 0 || segments.list[0].to + filled == next.to);
          segments.list[segments.count++] = next;
        }
        if (line + 1 == height) {
          filled += next.count, line = 0, ++image;
        } else {
          // Columns between two rows are not stored.
          segments.contiguous = segments.contiguous && std::min(count - filled, span - place) == next.count;
          filled += span - place, ++line;
        }
        place = 0;
      }
      return segments;
    };
    const auto multiply = [&](const Segments<T>& segments, Index first, Index steps, Index count,
                              auto panel) {
      const T* a = packed + (group * c.out + row) * depth + first * (last_row - row);
      for_low_tiles<tile_rows>(row, last_row, [&]<int Rows>(Index tile) {
        const T* const of_rows = bias == nullptr ? nullptr : bias + group * c.out + tile;
        T* const out = to + tile * c.plane();
        if (count > lanes<T>)
          micro_kernel<Rows, 2>(a, panel, steps, of_rows, first == 0, out, c.plane(), segments, count,
                                c.w.step);
        else
          micro_kernel<Rows, 1>(a, panel, steps, of_rows, first == 0, out, c.plane(), segments, count,
                                c.w.step);
        a += Rows * steps;
      });
    };
    if (!packs) {
      for (Index image = 0; image < last_n - n; ++image)
        for (Index column = 0; column < columns; column += width<T>) {
          const Index count = std::min(width<T>, columns - column);
          const T* const panel = from + image * source.image + column;
          multiply(segments_at(image * columns + column, count), 0, depth, count,
                   [&, panel](Index p) { return panel + offsets[static_cast<std::size_t>(p)]; });
        }
      return;
    }
    alignas(64) T panel[panel_depth * width<T> + lanes<T>];
    std::fill_n(panel, std::min(deepest + 1, panel_depth) * width<T>, T{0});
    for (Index first = 0; first < depth; first += deepest) {
      const Index steps = std::min(deepest, depth - first);
      for (Index column = 0; column < (last_n - n) * columns; column += width<T>) {
        const Index count = std::min(width<T>, (last_n - n) * columns - column);
        const Segments<T> segments = segments_at(column, count);
        if (source.direct)
          pack_b<true>(from, &offsets[static_cast<std::size_t>(first)], steps, segments, panel);
        else
          pack_b<false>(from, &offsets[static_cast<std::size_t>(first)], steps, segments, panel);
        multiply(segments, first, steps, count, [&](Index p) { return panel + p * width<T>; });
      }
    }
  };
  parallel_for(jobs.count, 1, [&](Index begin, Index end) {
    for (Index job = begin; job < end; ++job) run(job);
  });
}

template void correlate_channels(const float*, const float*, const float*, float*, const Correlation&);
template void correlate_channels(const double*, const double*, const double*, double*, const Correlation&);

}  // namespace retort::kernels
