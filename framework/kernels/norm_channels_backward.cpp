// The gradients of batch and group norm.
#include "retort/framework/kernels/norm_channels_impl.hpp"

namespace retort::kernels {
namespace {

using detail::each_column;
using detail::norm_gradient;
using detail::Pieces;
using detail::put_pairs;
using detail::Statistics;
using detail::Sums;

/// Sums over a piece: of g, and of g·xhat.
struct GradientSums {
  double g = 0, gx = 0;
};
static_assert(sizeof(GradientSums) == 2 * sizeof(double));

template <class T>
void run_gradient_sums(const T* x, const T* g, const T* statistics, const Pieces& pieces, Index part,
                       Index channel, GradientSums* table) {
  const auto s = Statistics<T>::at(statistics, pieces.set(part, channel), pieces.layout.sets());
  const Batch<T> high(s.high), low(s.low);
  const Index n = pieces.count(part), start = pieces.offset(part, channel);
  GradientSums sums;
  for (Index begin = 0; begin < n; begin += detail::norm_block) {
    Sums<T> of_g, of_gx;
    walk<T, 4>(std::min(detail::norm_block, n - begin), [&]<int K>(Index offset, Index count) {
      const Index i = start + begin + offset;
      prefetch_each<K>(x + i + ahead);
      prefetch_each<K>(g + i + ahead);
      const auto vx = load_each<K>(x + i, count, s.high), vg = load_each<K>(g + i, count, T{0});
      for (int k = 0; k < K; ++k) {
        of_g.v[k] += vg[k];
        of_gx.v[k] = fma<T>(vg[k], detail::less_mean<T>(vx[k], high, low), of_gx.v[k]);
      }
    });
    sums.g += of_g.total();
    sums.gx += of_gx.total();
  }
  table[part * pieces.layout.channels + channel] = {sums.g, sums.gx * static_cast<double>(s.factor)};
}

template <class T>
void column_gradient_sums(const T* x, const T* g, const T* statistics, const Pieces& pieces,
                          GradientSums* table) {
  const Index channels = pieces.layout.channels;
  each_column<T>(pieces, [&]<int K>(Index part, Index column, Index count) {
    const Index rows = pieces.count(part), start = pieces.offset(part, column);
    const auto high = load_each<K>(statistics + column, count, T{0}),
               low = load_each<K>(statistics + channels + column, count, T{0});
    std::array<Batch<T>, K> of_g, of_gx;
    of_g.fill(Batch<T>(T{0})), of_gx = of_g;
    for (Index r = 0; r < rows; ++r) {
      const auto vx = load_each<K>(x + start + r * channels, count, T{0}),
                 vg = load_each<K>(g + start + r * channels, count, T{0});
      for (int k = 0; k < K; ++k) {
        of_g[k] += vg[k];
        of_gx[k] = fma<T>(vg[k], detail::less_mean<T>(vx[k], high[k], low[k]), of_gx[k]);
      }
    }
    const T* const factor = statistics + 2 * channels + column;
    GradientSums* const out = table + part * channels + column;
    put_pairs<T>(of_g, of_gx, count, [&](Index i, T sum_g, T sum_gx) {
      out[i] = {static_cast<double>(sum_g), static_cast<double>(sum_gx) * static_cast<double>(factor[i])};
    });
  });
}

/// The means of weight·g and weight·g·xhat over a set: means[set], means[sets + set].
template <class T>
void combine_gradients(const T* weight, const Pieces& pieces, const GradientSums* table, Index set,
                       T* means) {
  const Index sets = pieces.layout.sets();
  double of_g = 0, of_gx = 0;
  pieces.in_set(set, [&](Index part, Index channel) {
    const GradientSums& sums = table[part * pieces.layout.channels + channel];
    of_g += static_cast<double>(weight[channel]) * sums.g;
    of_gx += static_cast<double>(weight[channel]) * sums.gx;
  });
  const double count = static_cast<double>(pieces.layout.size() / sets);
  means[set] = static_cast<T>(of_g / count);
  means[sets + set] = static_cast<T>(of_gx / count);
}

template <class T>
void write_run_gradient(const T* x, const T* weight, const T* statistics, const T* means, const T* g, T* dx,
                        const Pieces& pieces, Index part, Index channel, bool far) {
  const Index set = pieces.set(part, channel), sets = pieces.layout.sets();
  const auto s = Statistics<T>::at(statistics, set, sets);
  const Index start = pieces.offset(part, channel);
  const Batch<T> high(s.high), low(s.low), factor(s.factor), w(weight[channel]), of_g(means[set]),
      of_gx(means[sets + set]);
  fill_row<T, 4>(dx + start, pieces.count(part), far, [&]<int K>(Index i, Index count) {
    prefetch_each<K>(x + start + i + ahead);
    prefetch_each<K>(g + start + i + ahead);
    auto v = load_each<K>(x + start + i, count, T{0});
    const auto vg = load_each<K>(g + start + i, count, T{0});
    for (int k = 0; k < K; ++k)
      v[k] = norm_gradient<T>(detail::less_mean<T>(v[k], high, low), vg[k] * w, factor, of_g, of_gx);
    return v;
  });
}

template <class T>
void write_column_gradients(const T* x, const T* weight, const T* statistics, const T* means, const T* g,
                            T* dx, const Pieces& pieces, bool far) {
  const Index channels = pieces.layout.channels;
  parallel_for(pieces.layout.batch, rows_at_a_time(channels), [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row)
      fill_row<T, 2>(dx + row * channels, channels, far, [&]<int K>(Index i, Index count) {
        const auto load = [&](const T* from) { return load_each<K>(from + i, count, T{0}); };
        auto v = load(x + row * channels);
        const auto vg = load(g + row * channels), high = load(statistics), low = load(statistics + channels),
                   factor = load(statistics + 2 * channels), w = load(weight), of_g = load(means),
                   of_gx = load(means + channels);
        for (int k = 0; k < K; ++k)
          v[k] = norm_gradient<T>(detail::less_mean<T>(v[k], high[k], low[k]), vg[k] * w[k], factor[k],
                                  of_g[k], of_gx[k]);
        return v;
      });
  });
}

}  // namespace

template <class T>
void norm_channels_backward(const T* x, const T* weight, const T* statistics, const T* g, T* dx, T* d_weight,
                            T* d_bias, T* means, double* workspace, bool fixed, const NormChannels& layout) {
  const Pieces pieces(layout);
  auto* const table = reinterpret_cast<GradientSums*>(workspace);
  const bool far = is_far<T>(layout.size()), parameters = d_weight != nullptr || d_bias != nullptr;
  const auto sum = [&](Index part, Index channel) {
    run_gradient_sums(x, g, statistics, pieces, part, channel, table);
  };
  const auto write = [&](Index part, Index channel) {
    write_run_gradient<T>(x, weight, statistics, means, g, dx, pieces, part, channel, far);
  };
  const auto combine_set = [&](Index set) { combine_gradients(weight, pieces, table, set, means); };
  if (fixed && dx != nullptr) {
    // dx = weight·factor·g, which is the forward pass on g with means and a bias of 0.
    const Index sets = layout.sets();
    std::fill_n(means, 2 * sets, T{0});
    std::copy_n(statistics + 2 * sets, sets, means + 2 * sets);
    norm_channels(g, weight, means, means, dx, layout);
    dx = nullptr;
  }
  if (layout.size() > 0 && dx != nullptr && pieces.set_by_set(3, sizeof(T))) {
    pieces.each_set([&](Index set) {
      pieces.in_set(set, sum);
      combine_set(set);
      pieces.in_set(set, write);
    });
  } else if (layout.size() > 0) {
    if (parameters || dx != nullptr) {
      if (pieces.columns)
        column_gradient_sums(x, g, statistics, pieces, table);
      else
        pieces.each_run(sum);
    }
    if (dx != nullptr) {
      pieces.each_set(combine_set);
      if (pieces.columns)
        write_column_gradients<T>(x, weight, statistics, means, g, dx, pieces, far);
      else
        pieces.each_run(write);
    }
  }
  for (Index channel = 0; parameters && channel < layout.channels; ++channel) {
    GradientSums sums;
    for (Index part = 0; part < pieces.parts; ++part) {
      const GradientSums& piece = table[part * layout.channels + channel];
      sums.g += piece.g;
      sums.gx += piece.gx;
    }
    if (d_weight != nullptr) d_weight[channel] = static_cast<T>(sums.gx);
    if (d_bias != nullptr) d_bias[channel] = static_cast<T>(sums.g);
  }
}

template void norm_channels_backward(const float*, const float*, const float*, const float*, float*, float*,
                                     float*, float*, double*, bool, const NormChannels&);
template void norm_channels_backward(const double*, const double*, const double*, const double*, double*,
                                     double*, double*, double*, double*, bool, const NormChannels&);

}  // namespace retort::kernels
