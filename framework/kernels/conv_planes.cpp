// Depthwise convolution, plane by plane.
#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/conv_impl.hpp"

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
  const Index taps = c.taps();
  Source source(c, c.h.positions, 1, true);
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

template void correlate_planes(const float*, const float*, const float*, float*, const Correlation&);
template void correlate_planes(const double*, const double*, const double*, double*, const Correlation&);
template void weight_gradient_of_planes(const float*, const float*, float*, const Correlation&);
template void weight_gradient_of_planes(const double*, const double*, double*, const Correlation&);

}  // namespace retort::kernels
