#include "retort/framework/kernels/conv.hpp"

#include <vector>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/micro_kernel_impl.hpp"

namespace retort::kernels {
namespace {

Index divide_up(Index a, Index b) { return (a + b - 1) / b; }

// ---- The common form: correlations of padded images.

/// One dimension of a correlation. Position p reads the source elements p·stride + offset - padding, one for each tap,
/// and its result is stored at first + p·step of the destination.
struct Line {
  Index source = 1, positions = 1, stride = 1, padding = 0;
  std::vector<Index> offsets{0};
  std::vector<Index> taps{0};  ///< which taps of the kernel these are
  Index extent = 1, first = 0, step = 1;

  Index reach() const { return *std::max_element(offsets.begin(), offsets.end()); }
  /// True if no position reads outside the source.
  bool stays_inside() const { return padding <= 0 && (positions - 1) * stride + reach() - padding < source; }
};

/// Images [images, groups·in, h.source, w.source] to [images, groups·out, h.extent, w.extent].
struct Correlation {
  Index images, groups, in, out;
  Line h, w;
  Index weight_in, weight_out,
      kernel_w;  ///< distances between the weights of neighbouring channels and tap rows

  Index taps() const { return static_cast<Index>(h.offsets.size() * w.offsets.size()); }
  Index source_plane() const { return h.source * w.source; }
  Index plane() const { return h.extent * w.extent; }
  Index positions() const { return h.positions * w.positions; }
  Index weights_of_group() const { return std::max(weight_in * in, weight_out * out); }
};

/// Where the elements that a job reads are: in the images themselves, or in padded copies. In a copy, columns are
/// grouped by their remainder modulo the stride, so that neighbouring positions read neighbouring elements.
struct Source {
  bool direct;
  Index rows, row, phase, phases, channel, image;

  /// For jobs of up to h_positions rows of positions.
  Source(const Correlation& c, Index h_positions) {
    direct = c.w.stride == 1 && c.h.stays_inside() && c.w.stays_inside();
    rows = (h_positions - 1) * c.h.stride + c.h.reach() + 1;
    row = direct ? c.w.source : c.w.positions + c.w.reach() / c.w.stride;
    phases = std::min(c.w.stride, c.w.reach() + 1);
    phase = rows * row;
    channel = direct ? c.source_plane() : phases * phase;
    image = direct ? c.groups * c.in * channel : c.in * channel;
  }
  /// The offset of each tap of `channels` channels.
  std::vector<Index> offsets(const Correlation& c, Index channels) const {
    std::vector<Index> result;
    for (Index k = 0; k < channels; ++k)
      for (const Index h : c.h.offsets)
        for (const Index w : c.w.offsets)
          result.push_back(k * channel + w % c.w.stride * (direct ? 0 : phase) + h * row + w / c.w.stride);
    return result;
  }
};

/// The padded copy of one plane, from source row first_row (which may be negative) on.
template <class T>
void pad_plane(const T* x, T* to, const Correlation& c, const Source& s, Index first_row) {
  for (Index phase = 0; phase < s.phases; ++phase) {
    const Index shift = phase - c.w.padding, stride = c.w.stride, last = c.w.source - 1 - shift;
    const Index begin = std::clamp<Index>(shift >= 0 ? 0 : divide_up(-shift, stride), 0, s.row),
                end = last < 0 ? begin : std::clamp<Index>(last / stride + 1, begin, s.row);
    for (Index r = 0; r < s.rows; ++r, to += s.row) {
      const Index row = first_row + r;
      if (row < 0 || row >= c.h.source) {
        std::fill_n(to, s.row, T{0});
        continue;
      }
      const T* from = x + row * c.w.source + shift;
      std::fill_n(to, begin, T{0});
      if (stride == 1)
        std::copy(from + begin, from + end, to + begin);
      else
        for (Index t = begin; t < end; ++t) to[t] = from[t * stride];
      std::fill(to + end, to + s.row, T{0});
    }
  }
}

/// The elements of channels [first, last) of one group for images [n, end) from row of positions y on, as `s`
/// describes them.
template <class T>
const T* read_images(const T* x, const Correlation& c, const Source& s, Index group, Index n, Index end,
                     Index y, Index first, Index last) {
  const Index row = y * c.h.stride - c.h.padding;
  x += ((n * c.groups + group) * c.in + first) * c.source_plane();
  if (s.direct) return x + row * c.w.source - c.w.padding;
  T* const copies = scratch<T, 2>((end - n) * (last - first) * s.channel + 2 * lanes<T>);
  T* to = copies;
  for (; n < end; ++n, x += c.groups * c.in * c.source_plane())
    for (Index k = 0; k < last - first; ++k, to += s.channel)
      pad_plane(x + k * c.source_plane(), to, c, s, row);
  return copies;
}

// ---- Products: out channels × positions.

template <class T>
inline constexpr Index width = 2 * lanes<T>;

/// Neighbouring positions of one image row: `count` of them from column `at` of a panel on.
struct Segment {
  Index at, count, from, to;
};
template <class T>
struct Segments {
  Segment list[width<T>];
  int count = 0;
  bool contiguous = true;  ///< the whole panel is one run of the destination
};

/// One panel: row p has the elements at offsets[p] of each segment, side by side. An exact one reads nothing that
/// follows a segment.
template <bool Exact, class T>
void pack_b(const T* x, const Index* offsets, Index depth, const Segments<T>& segments, T* panel) {
  if (segments.count == 1 && segments.list[0].count == width<T>) {
    x += segments.list[0].from;
    for (Index p = 0; p < depth; ++p, panel += width<T>)
      for (Index k = 0; k < width<T>; k += lanes<T>) store(panel + k, load(x + offsets[p] + k));
    return;
  }
  // A store may reach into the next segment or row: both are written later.
  for (Index p = 0; p < depth; ++p, panel += width<T>)
    for (int s = 0; s < segments.count; ++s) {
      const Segment& of = segments.list[s];
      const T* const from = x + offsets[p] + of.from;
      for (Index k = 0; k < of.count; k += lanes<T>)
        store(panel + of.at + k,
              Exact ? load_lanes(from + k, std::min(lanes<T>, of.count - k), T{0}) : load(from + k));
    }
}

/// Rows × Registers results: added to the destination, or stored there with the bias for the first step.
template <int Rows, int Registers, class T>
void micro_kernel(const T* a, const T* b, Index depth, const T* bias, bool first, T* y, Index plane,
                  const Segments<T>& segments, Index columns, Index step) {
  Batch<T> sums[Rows][Registers];
  for (int i = 0; i < Rows; ++i)
    for (Batch<T>& sum : sums[i]) sum = Batch<T>(first && bias != nullptr ? bias[i] : T{0});
  accumulate(depth, a, Rows, 1, b, width<T>, sums);
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
  alignas(64) T tile[width<T>];
  for (int i = 0; i < Rows; ++i, y += plane) {
    for (int j = 0; j < Registers; ++j) store(tile + j * lanes<T>, sums[i][j]);
    for (int s = 0; s < segments.count; ++s) {
      const Segment& of = segments.list[s];
      T* to = y + of.to;
      for (Index k = 0; k < of.count; ++k, to += step) *to = first ? tile[of.at + k] : *to + tile[of.at + k];
    }
  }
}

/// How a correlation is cut into jobs: by images, bands of rows of positions, groups and blocks of out channels.
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

/// The weights of all groups: block after block of rows and `deepest` steps, tile after tile, as the micro-kernel
/// reads them.
template <class T>
void pack_a(const T* weight, const Correlation& c, const Jobs& jobs, Index deepest, T* packed) {
  const Index taps = c.taps(), depth = c.in * taps;
  std::vector<Index> at;
  for (const Index h : c.h.taps)
    for (const Index w : c.w.taps) at.push_back(h * c.kernel_w + w);
  parallel_for(c.groups * jobs.row_blocks, 1, [&](Index begin, Index end) {
    for (Index job = begin; job < end; ++job) {
      const Index group = job / jobs.row_blocks, block = job % jobs.row_blocks;
      const Index row = jobs.row(c, block), last = jobs.row(c, block + 1);
      T* to = packed + (group * c.out + row) * depth;
      for (Index first = 0; first < depth; first += deepest)
        for_tiles(row, last, [&]<int Rows>(Index tile) {
          const T* w = weight + group * c.weights_of_group() + tile * c.weight_out;
          Index channel = first / taps, tap = first % taps;
          for (Index p = first; p < std::min(depth, first + deepest); ++p, to += Rows) {
            const Index here = channel * c.weight_in + at[tap];
            for (int i = 0; i < Rows; ++i) to[i] = w[here + i * c.weight_out];
            if (++tap == taps) tap = 0, ++channel;
          }
        });
    }
  });
}

template <class T>
void correlate_channels(const T* x, const T* weight, const T* bias, T* y, const Correlation& c) {
  const Index depth = c.in * c.taps(), blocks = divide_up(depth, panel_depth),
              deepest = divide_up(depth, blocks);
  const Jobs jobs(c);
  const Source source(c, divide_up(c.h.positions, jobs.bands));
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
    const T* const from = read_images(x, c, source, group, n, last_n, top, 0, c.in);
    T* const to = y + (n * c.groups + group) * c.out * c.plane();
    const Index columns = (last_n - n) * height * c.w.positions;
    alignas(64) T panel[panel_depth * width<T> + lanes<T>];
    std::fill_n(panel, std::min(deepest + 1, panel_depth) * width<T>, T{0});
    for (Index first = 0; first < depth; first += deepest) {
      const Index steps = std::min(deepest, depth - first);
      for (Index column = 0; column < columns; column += width<T>) {
        const Index count = std::min(width<T>, columns - column);
        Segments<T> segments;
        for (Index at = 0; at < count;) {
          const Index image = (column + at) / (height * c.w.positions),
                      line = (column + at) / c.w.positions % height, place = (column + at) % c.w.positions;
          const Segment next{at, std::min(count - at, c.w.positions - place),
                             image * source.image + line * c.h.stride * source.row + place,
                             image * c.groups * c.out * c.plane() +
                                 (c.h.first + (top + line) * c.h.step) * c.w.extent + c.w.first +
                                 place * c.w.step};
          segments.contiguous =
              segments.contiguous && c.w.step == 1 && (at == 0 || segments.list[0].to + at == next.to);
          segments.list[segments.count++] = next;
          at += next.count;
        }
        if (source.direct)
          pack_b<true>(from, &offsets[static_cast<std::size_t>(first)], steps, segments, panel);
        else
          pack_b<false>(from, &offsets[static_cast<std::size_t>(first)], steps, segments, panel);
        const T* a = packed + (group * c.out + row) * depth + first * (last_row - row);
        for_tiles(row, last_row, [&]<int Rows>(Index tile) {
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
      }
    }
  };
  parallel_for(jobs.count, 1, [&](Index begin, Index end) {
    for (Index job = begin; job < end; ++job) run(job);
  });
}

// ---- One channel per group: plane by plane.

/// Planes that one thread takes at a time.
Index planes_at_once(const Correlation& c) {
  return std::max<Index>(1, 65536 / std::max<Index>(1, c.taps() * c.positions()));
}

/// One row of positions: the sum over taps, the number of which is fixed unless Taps is 0.
template <int Taps, class T>
inline void correlate_row(const T* x, const Index* offsets, const T* weight, Index taps, T bias, T* y,
                          Index n) {
  const Index count = Taps == 0 ? taps : Taps;
  for (Index i = 0; i < n; i += lanes<T>) {
    Batch<T> sum(bias);
    for (Index t = 0; t < count; ++t) sum = fma<T>(Batch<T>(weight[t]), load(x + offsets[t] + i), sum);
    if (n - i < lanes<T>) return store_partial<T>(y + i, sum, n - i);
    store(y + i, sum);
  }
}

template <class T>
void correlate_planes(const T* x, const T* weight, const T* bias, T* y, const Correlation& c) {
  const Index taps = c.taps();
  Source source(c, c.h.positions);
  const std::vector<Index> offsets = source.offsets(c, 1);
  parallel_for(c.images * c.groups, planes_at_once(c), [&](Index begin, Index end) {
    T* const weights = scratch<T, 3>(taps + c.w.positions + lanes<T>);
    T* const row = weights + taps;
    for (Index plane = begin; plane < end; ++plane) {
      const Index group = plane % c.groups;
      Index t = 0;
      for (const Index h : c.h.taps)
        for (const Index w : c.w.taps)
          weights[t++] = weight[group * c.weights_of_group() + h * c.kernel_w + w];
      T* const copy = scratch<T, 2>(source.channel + 2 * lanes<T>);
      pad_plane(x + plane * c.source_plane(), copy, c, source, -c.h.padding);
      const T start = bias == nullptr ? T{0} : bias[group];
      for (Index line = 0; line < c.h.positions; ++line) {
        T* const to = y + plane * c.plane() + (c.h.first + line * c.h.step) * c.w.extent + c.w.first;
        T* const out = c.w.step == 1 ? to : row;
        const T* const from = copy + line * c.h.stride * source.row;
        if (taps == 9)
          correlate_row<9>(from, offsets.data(), weights, taps, start, out, c.w.positions);
        else if (taps == 25)
          correlate_row<25>(from, offsets.data(), weights, taps, start, out, c.w.positions);
        else
          correlate_row<0>(from, offsets.data(), weights, taps, start, out, c.w.positions);
        if (c.w.step != 1)
          for (Index i = 0; i < c.w.positions; ++i) to[i * c.w.step] = row[i];
      }
    }
  });
}

/// sums[t] += g · x for Taps taps over the rows of one plane.
template <int Taps, class T>
void weight_gradient_of_plane(const T* x, const Index* offsets, const T* g, const Correlation& c, Index x_row,
                              Batch<T>* sums) {
  Batch<T> sum[Taps];
  std::copy_n(sums, Taps, sum);
  for (Index line = 0; line < c.h.positions; ++line, x += x_row, g += c.w.positions) {
    Index i = 0;
    for (; i + lanes<T> <= c.w.positions; i += lanes<T>) {
      const Batch<T> v = load(g + i);
      for (int t = 0; t < Taps; ++t) sum[t] = fma<T>(v, load(x + offsets[t] + i), sum[t]);
    }
    if (const Index rest = c.w.positions - i; rest > 0) {
      const Batch<T> v = load_partial<T>(g + i, rest, T{0});
      for (int t = 0; t < Taps; ++t)
        sum[t] = fma<T>(v, load_partial<T>(x + offsets[t] + i, rest, T{0}), sum[t]);
    }
  }
  std::copy_n(sum, Taps, sums);
}

template <class T>
void weight_gradient_of_planes(const T* x, const T* g, T* weight, const Correlation& c) {
  const Index taps = c.taps();
  Source source(c, c.h.positions);
  const std::vector<Index> offsets = source.offsets(c, 1);
  parallel_for(c.groups, 1, [&](Index begin, Index end) {
    for (Index group = begin; group < end; ++group) {
      std::vector<Batch<T>> sums(static_cast<std::size_t>(taps), Batch<T>(T{0}));
      for (Index n = 0; n < c.images; ++n) {
        T* const copy = scratch<T, 2>(source.channel + 2 * lanes<T>);
        pad_plane(x + (n * c.groups + group) * c.source_plane(), copy, c, source, -c.h.padding);
        const T* const of_g = g + (n * c.groups + group) * c.positions();
        Index t = 0;
        const auto some = [&]<int Taps>() {
          for (; t + Taps <= taps; t += Taps)
            weight_gradient_of_plane<Taps>(copy, &offsets[static_cast<std::size_t>(t)], of_g, c,
                                           c.h.stride * source.row, &sums[static_cast<std::size_t>(t)]);
        };
        some.template operator()<9>();
        some.template operator()<3>();
        some.template operator()<1>();
      }
      for (Index t = 0; t < taps; ++t)
        weight[group * taps + t] = sum_lanes<T>(sums[static_cast<std::size_t>(t)]);
    }
  });
}

template <class T>
void correlate(const T* x, const T* weight, const T* bias, T* y, const Correlation& c) {
  if (c.in == 1 && c.out == 1)
    correlate_planes(x, weight, bias, y, c);
  else
    correlate_channels(x, weight, bias, y, c);
}

// ---- Weight gradient: taps × out channels, summed over positions.

#if defined(__AVX512F__)
constexpr int most_registers = 4;
#else
constexpr int most_registers = 2;
#endif

/// sums [Rows][Registers] of [row][room] elements += Σ over positions of x at each row's offset times g [position][room].
template <int Rows, int Registers, class T>
void weight_tile(const T* x, const Index* offsets, Index x_row, const T* g, Index lines, Index positions,
                 Index room, T* sums) {
  Batch<T> sum[Rows][Registers];
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Registers; ++j) sum[i][j] = load(sums + i * room + j * lanes<T>);
  const T* rows[Rows];
  for (int i = 0; i < Rows; ++i) rows[i] = x + offsets[i];
  for (Index line = 0; line < lines; ++line) {
    for (Index p = 0; p < positions; ++p, g += room) {
      Batch<T> v[Registers];
      for (int j = 0; j < Registers; ++j) v[j] = load(g + j * lanes<T>);
      for (int i = 0; i < Rows; ++i) {
        const Batch<T> factor(rows[i][p]);
        for (int j = 0; j < Registers; ++j) sum[i][j] = fma<T>(factor, v[j], sum[i][j]);
      }
    }
    for (int i = 0; i < Rows; ++i) rows[i] += x_row;
  }
  for (int i = 0; i < Rows; ++i)
    for (int j = 0; j < Registers; ++j) store(sums + i * room + j * lanes<T>, sum[i][j]);
}

/// All tiles of `rows` taps and one panel of out channels.
template <int Registers, class T>
void weight_tiles(const T* x, const Index* offsets, Index rows, Index x_row, const T* g, Index lines,
                  Index positions, Index room, T* sums) {
  Index row = 0;
  const auto some = [&]<int Rows>() {
    for (; row + Rows <= rows; row += Rows)
      weight_tile<Rows, Registers>(x, offsets + row, x_row, g, lines, positions, room, sums + row * room);
  };
  some.template operator()<6>();
  some.template operator()<3>();
  some.template operator()<1>();
}

template <class T>
void weight_gradient_of_channels(const T* x, const T* g, T* weight, const Correlation& c) {
  const Index taps = c.taps(), depth = c.in * taps, room = divide_up(c.out, lanes<T>) * lanes<T>;
  // Jobs sum over their own images, for some of the in channels. Their sums are added in a fixed order.
  const Index size = c.groups * depth * room;
  const Index image_chunks = std::clamp<Index>((Index{1} << 20) / size, 1, std::min<Index>(c.images, 8));
  const Index channel_chunks = std::min(c.in, divide_up(8, image_chunks * c.groups));
  const Index lines = std::clamp<Index>(96 / c.w.positions, 1, c.h.positions);
  const Source source(c, c.h.positions);
  const std::vector<Index> offsets = source.offsets(c, divide_up(c.in, channel_chunks));
  T* const sums = scratch<T, 1>(image_chunks * size);
  const auto run = [&](Index job) {
    const Index chunk = job % channel_chunks, group = job / channel_chunks % c.groups,
                part = job / channel_chunks / c.groups;
    const Index first = c.in * chunk / channel_chunks, last = c.in * (chunk + 1) / channel_chunks;
    T* const to = sums + part * size + (group * depth + first * taps) * room;
    std::fill_n(to, (last - first) * taps * room, T{0});
    T* const turned = scratch<T, 3>(lines * c.w.positions * room);
    std::fill_n(turned, room > c.out ? lines * c.w.positions * room : 0, T{0});
    for (Index n = c.images * part / image_chunks; n < c.images * (part + 1) / image_chunks; ++n) {
      const T* const from = read_images(x, c, source, group, n, n + 1, 0, first, last);
      const T* const of_g = g + (n * c.groups + group) * c.out * c.positions();
      for (Index line = 0; line < c.h.positions; line += lines) {
        const Index count = std::min(lines, c.h.positions - line);
        turn(of_g + line * c.w.positions, c.positions(), c.out, count * c.w.positions, turned, room);
        const T* const start = from + line * c.h.stride * source.row;
        Index column = 0;
        const auto some = [&]<int Registers>() {
          for (; column + Registers * lanes<T> <= room; column += Registers * lanes<T>)
            weight_tiles<Registers>(start, offsets.data(), (last - first) * taps, c.h.stride * source.row,
                                    turned + column, count, c.w.positions, room, to + column);
        };
        if constexpr (most_registers == 4) some.template operator()<4>();
        some.template operator()<2>();
        some.template operator()<1>();
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
  for (Index group = 0; group < c.groups; ++group)
    turn(sums + group * depth * room, room, depth, c.out, weight + group * c.out * depth, depth);
}

// ---- From the convolution to its correlations.

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

Correlation forward_correlation(const Convolution& of) {
  const Windows& w = of.windows;
  Correlation c{.images = of.images,
                .groups = of.groups,
                .in = of.in,
                .out = of.out,
                .h = forward_line(w.height, w.kernel_h, w.stride_h, w.padding_h, w.dilation_h, w.out_h),
                .w = forward_line(w.width, w.kernel_w, w.stride_w, w.padding_w, w.dilation_w, w.out_w),
                .weight_in = w.window(),
                .weight_out = of.in * w.window(),
                .kernel_w = w.kernel_w};
  return c;
}

/// The parts of one dimension of the adjoint. With a stride, elements of x that have the same remainder modulo the
/// stride are reached by the same taps, and only by those.
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

/// Without taps that tell rows apart, a plane is one long row: fewer and longer segments.
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
void convolve(const T* x, const T* weight, const T* bias, T* y, const Convolution& of) {
  const Index channels = of.groups * of.out, positions = of.windows.positions();
  if (of.images * channels * positions == 0) return;
  if (of.in == 0) {
    for (Index plane = 0; plane < of.images * channels; ++plane)
      std::fill_n(y + plane * positions, positions, bias == nullptr ? T{0} : bias[plane % channels]);
    return;
  }
  Correlation c = forward_correlation(of);
  flatten(c);
  correlate(x, weight, bias, y, c);
}

template <class T>
void convolve_transposed(const T* g, const T* weight, const T* bias, T* x, const Convolution& of) {
  const Windows& w = of.windows;
  const Index channels = of.groups * of.in, planes = of.images * channels;
  if (planes * w.plane() == 0) return;
  const auto h_lines = adjoint_lines(w.height, w.kernel_h, w.stride_h, w.padding_h, w.dilation_h, w.out_h);
  const auto w_lines = adjoint_lines(w.width, w.kernel_w, w.stride_w, w.padding_w, w.dilation_w, w.out_w);
  Index rows = 0, columns = 0;
  for (const Line& line : h_lines) rows += line.positions;
  for (const Line& line : w_lines) columns += line.positions;
  if (of.out == 0 || rows < w.height || columns < w.width)
    for (Index plane = 0; plane < planes; ++plane)
      std::fill_n(x + plane * w.plane(), w.plane(), bias == nullptr ? T{0} : bias[plane % channels]);
  if (of.out == 0) return;
  for (const Line& h : h_lines)
    for (const Line& v : w_lines) {
      Correlation c{.images = of.images,
                    .groups = of.groups,
                    .in = of.out,
                    .out = of.in,
                    .h = h,
                    .w = v,
                    .weight_in = of.in * w.window(),
                    .weight_out = w.window(),
                    .kernel_w = w.kernel_w};
      flatten(c);
      correlate(g, weight, bias, x, c);
    }
}

template <class T>
void convolve_weight_gradient(const T* x, const T* g, T* weight, const Convolution& of) {
  const Index size = of.groups * of.out * of.in * of.windows.window();
  if (size == 0 || of.images == 0) {
    std::fill_n(weight, size, T{0});
    return;
  }
  Correlation c = forward_correlation(of);
  flatten(c);
  if (c.in == 1 && c.out == 1)
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
