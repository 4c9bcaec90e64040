// The gradient of a convolution's weight: taps × output channels, summed over positions.
#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/conv_impl.hpp"

namespace retort::kernels {
namespace {

#if defined(__AVX512F__)
constexpr int most_registers = 4;
#else
constexpr int most_registers = 2;
#endif

/// sums [Rows][Registers] of [row][room] elements += Σ over positions of x at each row's offset times g
/// [position][room].
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

/// All tiles of `rows` taps and one panel of output channels.
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

}  // namespace

template <class T>
void weight_gradient_of_channels(const T* x, const T* g, T* weight, const Correlation& c) {
  const Index taps = c.taps(), depth = c.in * taps, room = divide_up(c.out, lanes<T>) * lanes<T>;
  // Jobs sum over their own images, for some of the input channels. Their sums are added in a fixed order.
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

template void weight_gradient_of_channels(const float*, const float*, float*, const Correlation&);
template void weight_gradient_of_channels(const double*, const double*, double*, const Correlation&);

}  // namespace retort::kernels
