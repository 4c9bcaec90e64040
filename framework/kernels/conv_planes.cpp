// Depthwise convolution in rows of positions, and the gradient of the weight for few output channels.
#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/conv_impl.hpp"
#include "retort/framework/kernels/micro_kernel_impl.hpp"

namespace retort::kernels {
namespace {

/// Number of planes per thread and chunk.
Index planes_at_once(const Correlation& c) {
  return std::max<Index>(1, 65536 / std::max<Index>(1, c.taps() * c.positions()));
}

/// One row of positions: the sum over the taps, whose number is a constant unless Taps is 0.
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

/// Some images: rows of positions of x are x_row apart; g is a copy [image][line][register][out], whose last
/// register of a line is padded with zeros.
template <class T>
struct Planes {
  const T *x, *g;
  Index images, lines, positions, x_image, x_row, outs;
};
/// sums [Taps][outs] (registers) += g · x for Taps taps and the first Outs channels.
template <int Taps, int Outs, class T>
[[gnu::flatten, gnu::noinline]] void weight_gradient_tile(const Planes<T>& of, const Index* offsets,
                                                          T* sums) {
  const Index positions = of.positions, g_step = of.outs * lanes<T>;
  Batch<T> sum[Taps][Outs];
  const T* x_tap[Taps];
  unrolled<Taps>([&](auto t) {
    x_tap[t] = of.x + offsets[t];
    unrolled<Outs>([&](auto o) { sum[t][o] = load(sums + t * g_step + o * lanes<T>); });
  });
  const T* g = of.g;
  const auto add = [&](Index offset, auto read) {
    Batch<T> x[Taps];
    unrolled<Taps>([&](auto t) { x[t] = read(x_tap[t] + offset); });
    unrolled<Outs>([&](auto o) {
      const Batch<T> v = load(g + o * lanes<T>);
      unrolled<Taps>([&](auto t) { sum[t][o] = fma<T>(v, x[t], sum[t][o]); });
    });
    g += g_step;
  };
  for (Index n = 0; n < of.images; ++n)
    for (Index line = 0; line < of.lines; ++line) {
      const Index offset = n * of.x_image + line * of.x_row;
      Index i = 0;
      for (; i + lanes<T> <= positions; i += lanes<T>) add(offset + i, [](const T* v) { return load(v); });
      if (const Index rest = positions - i; rest > 0)
        add(offset + i, [&](const T* v) { return load_partial(v, rest, T{0}); });
    }
  unrolled<Taps>([&](auto t) {
    unrolled<Outs>([&](auto o) { store<T>(sums + t * g_step + o * lanes<T>, sum[t][o]); });
  });
}

}  // namespace

template <class T>
void correlate_planes(const T* x, const T* weight, const T* bias, T* y, const Correlation& c) {
  const Index taps = c.taps();
  Source source(c, c.h.positions, 1, true);
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

template <class T>
void weight_gradient_of_planes(const T* x, const T* g, T* weight, const Correlation& c) {
  constexpr int most_outs = panel_registers == 4 ? 8 : 4;
  const Index taps = c.taps(), size = c.groups * c.in * taps * c.out,
              registers = divide_up(c.w.positions, lanes<T>);
  // Jobs sum over their own images, for some of the input channels. Their sums are added in a fixed order.
  const Index image_chunks = std::min(c.images, divide_up(8, c.groups)),
              channel_chunks = std::min(c.in, divide_up(8, c.groups * image_chunks)),
              most_channels = divide_up(c.in, channel_chunks),
              most_images = std::clamp<Index>(512 / c.positions(), 1, divide_up(c.images, image_chunks));
  const Source source(c, c.h.positions, most_channels, true);
  const std::vector<Index> offsets = source.offsets(c, most_channels);
  T* const sums = scratch<T, 1>(image_chunks * size * lanes<T>);
  const auto run = [&](Index job) {
    const Index chunk = job % channel_chunks, group = job / channel_chunks % c.groups,
                part = job / channel_chunks / c.groups, first = c.in * chunk / channel_chunks,
                last = c.in * (chunk + 1) / channel_chunks, steps = (last - first) * taps;
    T* const to = sums + (part * size + (group * c.in + first) * taps * c.out) * lanes<T>;
    std::fill_n(to, steps * c.out * lanes<T>, T{0});
    const Index end = c.images * (part + 1) / image_chunks;
    T* const copy = scratch<T, 3>(most_images * c.h.positions * registers * c.out * lanes<T>);
    for (Index n = c.images * part / image_chunks, some; n < end; n += some) {
      some = std::min(most_images, end - n);
      T* next = copy;
      for (Index i = n; i < n + some; ++i)
        for (Index line = 0; line < c.h.positions; ++line)
          for (Index p = 0; p < c.w.positions; p += lanes<T>)
            for (Index o = 0; o < c.out; ++o, next += lanes<T>)
              store(next, load_lanes(g + ((i * c.groups + group) * c.out + o) * c.positions() +
                                         line * c.w.positions + p,
                                     std::min(lanes<T>, c.w.positions - p), T{0}));
      Planes<T> of{read_images(x, c, source, group, n, n + some, 0, first, last),
                   copy,
                   some,
                   c.h.positions,
                   c.w.positions,
                   source.image,
                   c.h.stride * source.row,
                   c.out};
      for_low_tiles<most_outs>(0, c.out, [&]<int Outs>(Index out) {
        of.g = copy + out * lanes<T>;
        Index t = 0;
        const auto some_taps = [&]<int Taps>() {
          for (; t + Taps <= steps; t += Taps)
            weight_gradient_tile<Taps, Outs>(of, &offsets[static_cast<std::size_t>(t)],
                                             to + (t * c.out + out) * lanes<T>);
        };
        if constexpr (Outs <= most_outs / 4) some_taps.template operator()<9>();
        some_taps.template operator()<3>();
        some_taps.template operator()<1>();
      });
    }
  };
  parallel_for(image_chunks * c.groups * channel_chunks, 1, [&](Index begin, Index end) {
    for (Index job = begin; job < end; ++job) run(job);
  });
  parallel_for(c.groups * c.out, 64, [&](Index begin, Index end) {
    for (Index channel = begin; channel < end; ++channel)
      for (Index i = 0; i < c.in * taps; ++i) {
        const T* from = sums + ((channel / c.out * c.in * taps + i) * c.out + channel % c.out) * lanes<T>;
        Batch<T> sum = load(from);
        for (Index part = 1; part < image_chunks; ++part) sum = sum + load(from += size * lanes<T>);
        weight[channel * c.in * taps + i] = sum_lanes<T>(sum);
      }
  });
}

template void correlate_planes(const float*, const float*, const float*, float*, const Correlation&);
template void correlate_planes(const double*, const double*, const double*, double*, const Correlation&);
template void weight_gradient_of_planes(const float*, const float*, float*, const Correlation&);
template void weight_gradient_of_planes(const double*, const double*, double*, const Correlation&);

}  // namespace retort::kernels
