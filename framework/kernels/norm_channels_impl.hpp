// The pieces of an array that batch and group norm process. An array [batch, channels, inner] is split into
// pieces of one channel each: parts of a run of `inner` elements, or for inner = 1 the columns of blocks of
// rows. The pieces' sums form a table [parts, channels], from which those of each set follow in a fixed
// order.
#pragma once

#include <algorithm>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/norm_impl.hpp"

namespace retort::kernels::detail {

inline constexpr Index rows_in_piece = 64;        // if inner = 1
inline constexpr Index run_in_piece = 16384;      // elements of a run
inline constexpr Index cached_bytes = 384 << 10;  // a set of this size stays in the cache for the second pass

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

}  // namespace retort::kernels::detail
