// Batch and group norm. An array [batch, channels, inner] is split into pieces of one channel each: parts of
// a run of `inner` elements, or for inner = 1 the columns of blocks of rows. The pieces' sums form a table
// [parts, channels], from which those of each set follow in a fixed order.
#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/norm_impl.hpp"

namespace retort::kernels {
namespace {

using detail::Moments;
using detail::norm_gradient;
using detail::Statistics;
using detail::Sums;

constexpr Index rows_in_piece = 64;        // if inner = 1
constexpr Index run_in_piece = 16384;      // elements of a run
constexpr Index cached_bytes = 384 << 10;  // a set of this size is still in the cache for the second pass

/// The division of an array. Part p of channel c is the piece (p, c).
struct Pieces {
  explicit Pieces(const NormChannels& of) : layout(of), columns(of.inner == 1) {
    length = columns ? rows_in_piece : std::min(of.inner, run_in_piece);
    extent = columns ? of.batch : of.inner;
    width = of.groups == 0 ? 1 : of.channels / of.groups;
    each = length == 0 ? 0 : (extent + length - 1) / length;
    parts = columns ? each : of.batch * each;
  }

  // Most runs are one piece: their positions need no divisions, which take longer than short runs.
  Index count(Index part) const {
    return each == 1 ? extent : std::min(length, extent - part % each * length);
  }
  /// The offset of the first element; for column pieces, of the first element of its row (channel 0).
  Index offset(Index part, Index channel) const {
    if (columns) return part * length * layout.channels + channel;
    if (each == 1) return (part * layout.channels + channel) * layout.inner;
    return (part / each * layout.channels + channel) * layout.inner + part % each * length;
  }
  Index set(Index part, Index channel) const {
    if (layout.groups == 0) return channel;
    const Index sample = columns ? 0 : each == 1 ? part : part / each;
    return sample * layout.groups + channel / width;
  }
  /// The element relative to which the moments of a set are computed.
  Index origin(Index set) const {
    if (layout.groups == 0) return set * layout.inner;
    return set * width * layout.inner;
  }
  /// Calls f(part, channel) for the pieces of a set.
  template <class F>
  void in_set(Index set, F f) const {
    const bool by_channel = layout.groups == 0;
    const Index first = by_channel ? set : set % layout.groups * width;
    const Index from = by_channel ? 0 : set / layout.groups * each, to = by_channel ? parts : from + each;
    for (Index part = from; part < to; ++part)
      for (Index channel = first; channel < first + width; ++channel) f(part, channel);
  }
  /// Calls f(part, channel) for all pieces that are runs, on all threads, in memory order.
  template <class F>
  void each_run(const F& f) const {
    const Index channels = layout.channels;
    parallel_for(parts * channels, std::max<Index>(1, row_grain / std::max<Index>(1, length)),
                 [&](Index begin, Index end) {
                   Index piece = begin % each, channel = begin / each % channels,
                         first = begin / each / channels * each;
                   for (Index i = begin; i < end; ++i) {
                     f(first + piece, channel);
                     if (++piece < each) continue;
                     piece = 0;
                     if (++channel < channels) continue;
                     channel = 0;
                     first += each;
                   }
                 });
  }
  /// True if a set is contiguous and `arrays` of its elements fit into the cache, so that sets are processed
  /// one by one.
  bool set_by_set(Index arrays, std::size_t element) const {
    const Index bytes =
        layout.size() / std::max<Index>(1, layout.sets()) * arrays * static_cast<Index>(element);
    return layout.groups > 0 && layout.sets() >= 8 && bytes <= cached_bytes;
  }
  /// True if the sets are channels of short runs that fit into the cache, with their results: then a channel
  /// is processed as a whole. More runs would exceed the processor's table of pages.
  bool channel_by_channel(std::size_t element) const {
    return layout.groups == 0 && !columns && layout.inner <= 1024 && layout.batch <= 64 &&
           layout.channels >= 8 &&
           2 * layout.batch * layout.inner * static_cast<Index>(element) <= cached_bytes;
  }
  /// Calls f(set) for all sets, on all threads.
  template <class F>
  void each_set(const F& f) const {
    const Index sets = layout.sets(), elements = layout.size() / std::max<Index>(1, sets);
    parallel_for(sets, std::max<Index>(1, row_grain / std::max<Index>(1, elements)),
                 [&](Index begin, Index end) {
                   for (Index set = begin; set < end; ++set) f(set);
                 });
  }

  NormChannels layout;
  bool columns;
  Index length, extent, width, each, parts;
};

// ---- sums of columns ------------------------------------------------------------------------------------

/// The columns of one part, several registers at a time: f.operator()<K>(first column, lanes).
template <class T, class F>
void each_column(const Pieces& pieces, const F& f) {
  parallel_for(pieces.parts,
               std::max<Index>(1, row_grain / (rows_in_piece * std::max<Index>(1, pieces.layout.channels))),
               [&](Index begin, Index end) {
                 for (Index part = begin; part < end; ++part)
                   walk<T, 4>(pieces.layout.channels, [&]<int K>(Index column, Index count) {
                     f.template operator()<K>(part, column, count);
                   });
               });
}

/// Writes pairs of two registers' lanes to the table as f(first, second).
template <class T, std::size_t K, class F>
void put_pairs(const std::array<Batch<T>, K>& a, const std::array<Batch<T>, K>& b, Index count, const F& f) {
  alignas(64) T first[K * lanes<T>], second[K * lanes<T>];
  for (std::size_t k = 0; k < K; ++k)
    a[k].store_aligned(first + k * lanes<T>), b[k].store_aligned(second + k * lanes<T>);
  for (Index i = 0; i < (K == 1 ? count : static_cast<Index>(K) * lanes<T>); ++i) f(i, first[i], second[i]);
}

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

/// At the same time, the memory at the same offset from `next` is fetched.
template <class T>
void write_run(const T* x, const T* weight, const T* bias, const T* statistics, T* y, const Pieces& pieces,
               Index part, Index channel, bool far, const T* next) {
  const auto s = Statistics<T>::at(statistics, pieces.set(part, channel), pieces.layout.sets());
  const Index at = pieces.offset(part, channel);
  const Batch<T> high(s.high), low(s.low), factor(s.factor), w(weight[channel]), b(bias[channel]);
  fill_row<T, 4>(y + at, pieces.count(part), far, [&]<int K>(Index i, Index count) {
    prefetch_each<K>(next + at + i);
    auto v = load_each<K>(x + at + i, count, T{0});
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

// ---- gradients ------------------------------------------------------------------------------------------

/// Sums over a piece: of g, and of g·xhat.
struct GradientSums {
  double g = 0, gx = 0;
};

template <class T>
void run_gradient_sums(const T* x, const T* g, const T* statistics, const Pieces& pieces, Index part,
                       Index channel, GradientSums* table) {
  const auto s = Statistics<T>::at(statistics, pieces.set(part, channel), pieces.layout.sets());
  const Batch<T> high(s.high), low(s.low);
  const Index n = pieces.count(part), at = pieces.offset(part, channel);
  GradientSums sums;
  for (Index begin = 0; begin < n; begin += detail::norm_block) {
    Sums<T> of_g, of_gx;
    walk<T, 4>(std::min(detail::norm_block, n - begin), [&]<int K>(Index offset, Index count) {
      const Index i = at + begin + offset;
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
    const Index rows = pieces.count(part), at = pieces.offset(part, column);
    const auto high = load_each<K>(statistics + column, count, T{0}),
               low = load_each<K>(statistics + channels + column, count, T{0});
    std::array<Batch<T>, K> of_g, of_gx;
    of_g.fill(Batch<T>(T{0})), of_gx = of_g;
    for (Index r = 0; r < rows; ++r) {
      const auto vx = load_each<K>(x + at + r * channels, count, T{0}),
                 vg = load_each<K>(g + at + r * channels, count, T{0});
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
  const Index at = pieces.offset(part, channel);
  const Batch<T> high(s.high), low(s.low), factor(s.factor), w(weight[channel]), of_g(means[set]),
      of_gx(means[sets + set]);
  fill_row<T, 4>(dx + at, pieces.count(part), far, [&]<int K>(Index i, Index count) {
    prefetch_each<K>(x + at + i + ahead);
    prefetch_each<K>(g + at + i + ahead);
    auto v = load_each<K>(x + at + i, count, T{0});
    const auto vg = load_each<K>(g + at + i, count, T{0});
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

Index norm_channels_workspace(const NormChannels& layout) {
  static_assert(sizeof(Moments) == 2 * sizeof(double) && sizeof(GradientSums) == 2 * sizeof(double));
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
template void norm_channels_backward(const float*, const float*, const float*, const float*, float*, float*,
                                     float*, float*, double*, bool, const NormChannels&);
template void norm_channels_backward(const double*, const double*, const double*, const double*, double*,
                                     double*, double*, double*, double*, bool, const NormChannels&);

}  // namespace retort::kernels
