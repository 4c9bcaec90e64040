// Batch and group norm: statistics and results.
#include "retort/framework/kernels/norm_channels_impl.hpp"

namespace retort::kernels {
namespace {

using detail::each_column;
using detail::Moments;
using detail::Pieces;
using detail::put_pairs;
using detail::Statistics;
using detail::Sums;

// ---- sums of columns ------------------------------------------------------------------------------------

template <class T>
void column_moments(const T* x, const Pieces& pieces, Moments* table) {
  const Index channels = pieces.layout.channels;
  each_column<T>(pieces, [&]<int K>(Index part, Index column, Index count) {
    const Index rows = pieces.count(part);
    const T* const from = x + pieces.offset(part, column);
    const auto origin = load_each<K>(x + column, count, T{0});
    std::array<Batch<T>, K> sum, centre, first, second;
    sum.fill(Batch<T>(T{0})), first = second = sum;
    for (Index r = 0; r < rows; ++r) {
      const auto v = load_each<K>(from + r * channels, count, T{0});
      for (int k = 0; k < K; ++k) sum[k] += v[k] - origin[k];
    }
    const Batch<T> divisor(static_cast<T>(rows));
    for (int k = 0; k < K; ++k) centre[k] = origin[k] + sum[k] / divisor;
    for (Index r = 0; r < rows; ++r) {
      const auto v = load_each<K>(from + r * channels, count, T{0});
      for (int k = 0; k < K; ++k) {
        const Batch<T> d = v[k] - centre[k];
        first[k] += d;
        second[k] = fma<T>(d, d, second[k]);
      }
    }
    Moments* const out = table + part * channels + column;
    put_pairs<T>(first, second, count, [&](Index i, T rest, T squares) {
      out[i] = {
          static_cast<double>(rest) / static_cast<double>(rows),
          std::max(0.0, static_cast<double>(squares) - static_cast<double>(rest) * static_cast<double>(rest) /
                                                           static_cast<double>(rows))};
    });
    put_pairs<T>(centre, origin, count, [&](Index i, T middle, T start) {
      out[i].mean += static_cast<double>(middle) - static_cast<double>(start);
    });
  });
}

/// The statistics of a set from the moments of its pieces.
template <class T>
void combine(const T* x, const Pieces& pieces, const Moments* table, Index set, T* statistics) {
  const Index channels = pieces.layout.channels;
  double total = 0, count = 0, squares = 0;
  pieces.in_set(set, [&](Index part, Index channel) {
    const double n = static_cast<double>(pieces.count(part));
    total += n * table[part * channels + channel].mean;
    count += n;
  });
  const double mean = total / count;
  pieces.in_set(set, [&](Index part, Index channel) {
    const Moments& piece = table[part * channels + channel];
    const double difference = piece.mean - mean;
    squares += piece.squares + static_cast<double>(pieces.count(part)) * difference * difference;
  });
  Statistics<T>::store(statistics, set, pieces.layout.sets(), x[pieces.origin(set)], mean, squares / count,
                       pieces.layout.eps);
}

/// The moments of parts that are added one by one.
struct TotalMoments {
  Moments of;
  double count = 0;

  void add(const Moments& part, Index n) {
    const double difference = part.mean - of.mean,
                 share = static_cast<double>(n) / (count + static_cast<double>(n));
    of.squares += part.squares + difference * difference * share * count;
    of.mean += difference * share;
    count += static_cast<double>(n);
  }
};

template <class T>
void run_moments(const T* x, const Pieces& pieces, Index part, Index channel, Moments* table) {
  const Index n = pieces.count(part);
  const T* const from = x + pieces.offset(part, channel);
  TotalMoments total;
  for (Index begin = 0; begin < n; begin += detail::norm_block) {
    const Index count = std::min(detail::norm_block, n - begin);
    total.add(detail::moments_of(from + begin, count, from[0]), count);
  }
  const T origin = x[pieces.origin(pieces.set(part, channel))];
  total.of.mean += static_cast<double>(from[0]) - static_cast<double>(origin);
  table[part * pieces.layout.channels + channel] = total.of;
}

/// The statistics of a channel of short runs.
template <class T>
void channel_statistics(const T* x, const Pieces& pieces, Index channel, T* statistics) {
  const auto& [batch, channels, inner, groups, eps] = pieces.layout;
  const Index stride = channels * inner, together = detail::norm_block / inner;
  const T* const from = x + channel * inner;
  TotalMoments total;
  for (Index i = 0; i < batch; i += together) {
    const Index runs = std::min(together, batch - i);
    total.add(detail::moments_of(from + i * stride, inner, from[0], runs, stride), runs * inner);
  }
  Statistics<T>::store(statistics, channel, channels, from[0], total.of.mean, total.of.squares / total.count,
                       eps);
}

// ---- results --------------------------------------------------------------------------------------------

/// Writes y for one run, and prefetches the memory at the same offset from `next`.
template <class T>
void write_run(const T* x, const T* weight, const T* bias, const T* statistics, T* y, const Pieces& pieces,
               Index part, Index channel, bool far, const T* next) {
  const auto s = Statistics<T>::at(statistics, pieces.set(part, channel), pieces.layout.sets());
  const Index start = pieces.offset(part, channel);
  const Batch<T> high(s.high), low(s.low), factor(s.factor), w(weight[channel]), b(bias[channel]);
  fill_row<T, 4>(y + start, pieces.count(part), far, [&]<int K>(Index i, Index count) {
    prefetch_each<K>(next + start + i);
    auto v = load_each<K>(x + start + i, count, T{0});
    for (int k = 0; k < K; ++k) v[k] = fma<T>(detail::less_mean<T>(v[k], high, low) * factor, w, b);
    return v;
  });
}

template <class T>
void write_columns(const T* x, const T* weight, const T* bias, const T* statistics, T* y,
                   const Pieces& pieces, bool far) {
  const Index channels = pieces.layout.channels;
  parallel_for(pieces.layout.batch, rows_at_a_time(channels), [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row)
      fill_row<T, 2>(y + row * channels, channels, far, [&]<int K>(Index i, Index count) {
        const auto load = [&](const T* from) { return load_each<K>(from + i, count, T{0}); };
        auto v = load(x + row * channels);
        const auto high = load(statistics), low = load(statistics + channels),
                   factor = load(statistics + 2 * channels), w = load(weight), b = load(bias);
        for (int k = 0; k < K; ++k)
          v[k] = fma<T>(detail::less_mean<T>(v[k], high[k], low[k]) * factor[k], w[k], b[k]);
        return v;
      });
  });
}

}  // namespace

Index norm_channels_workspace(const NormChannels& layout) {
  static_assert(sizeof(Moments) == 2 * sizeof(double));
  return 2 * Pieces(layout).parts * layout.channels;
}

template <class T>
void norm_channels_statistics(const T* x, T* statistics, double* workspace, const NormChannels& layout) {
  const Pieces pieces(layout);
  auto* const table = reinterpret_cast<Moments*>(workspace);
  if (layout.size() == 0) return;
  if (pieces.columns)
    column_moments(x, pieces, table);
  else
    pieces.each_run([&](Index part, Index channel) { run_moments(x, pieces, part, channel, table); });
  pieces.each_set([&](Index set) { combine(x, pieces, table, set, statistics); });
}

template <class T>
void norm_channels(const T* x, const T* weight, const T* bias, const T* statistics, T* y,
                   const NormChannels& layout) {
  const Pieces pieces(layout);
  if (layout.size() == 0) return;
  if (pieces.columns) return write_columns(x, weight, bias, statistics, y, pieces, is_far<T>(layout.size()));
  pieces.each_run([&, far = is_far<T>(layout.size())](Index part, Index channel) {
    write_run(x, weight, bias, statistics, y, pieces, part, channel, far, x + ahead);
  });
}

template <class T>
void norm_channels_forward(const T* x, const T* weight, const T* bias, T* y, T* statistics, double* workspace,
                           const NormChannels& layout) {
  const Pieces pieces(layout);
  if (layout.size() > 0 && pieces.channel_by_channel(sizeof(T)))
    return pieces.each_set([&](Index channel) {
      channel_statistics<T>(x, pieces, channel, statistics);
      const T* const later = y + 8 * layout.channels * layout.inner;
      pieces.in_set(channel, [&](Index part, Index) {
        write_run<T>(x, weight, bias, statistics, y, pieces, part, channel, false, later);
      });
    });
  if (!pieces.set_by_set(2, sizeof(T))) {
    norm_channels_statistics(x, statistics, workspace, layout);
    return norm_channels(x, weight, bias, static_cast<const T*>(statistics), y, layout);
  }
  auto* const table = reinterpret_cast<Moments*>(workspace);
  if (layout.size() == 0) return;
  pieces.each_set([&, far = is_far<T>(layout.size())](Index set) {
    pieces.in_set(set, [&](Index part, Index channel) { run_moments(x, pieces, part, channel, table); });
    combine(x, pieces, table, set, statistics);
    pieces.in_set(set, [&](Index part, Index channel) {
      write_run<T>(x, weight, bias, statistics, y, pieces, part, channel, far, x + ahead);
    });
  });
}

template void norm_channels_statistics(const float*, float*, double*, const NormChannels&);
template void norm_channels_statistics(const double*, double*, double*, const NormChannels&);
template void norm_channels(const float*, const float*, const float*, const float*, float*,
                            const NormChannels&);
template void norm_channels(const double*, const double*, const double*, const double*, double*,
                            const NormChannels&);
template void norm_channels_forward(const float*, const float*, const float*, float*, float*, double*,
                                    const NormChannels&);
template void norm_channels_forward(const double*, const double*, const double*, double*, double*, double*,
                                    const NormChannels&);

}  // namespace retort::kernels
