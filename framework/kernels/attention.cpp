#include "retort/framework/kernels/attention.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "retort/framework/base/draws.hpp"
#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/rows_impl.hpp"
#include "retort/framework/kernels/tiles.hpp"

namespace retort::kernels {
namespace {

// Scores are computed transposed, [keys][queries]: each lane is a query, so no sums or comparisons cross
// lanes, and K and V are read as stored. A tile of scores and its operands fit into the second-level cache.
constexpr Index query_tile = 64, key_tile = 64;

struct Tile {
  Index head, first_query, queries, first_key, keys;
};

/// Calls f(first, count) for tiles of `size` covering [begin, end).
template <class F>
void in_tiles(Index begin, Index end, Index size, F f) {
  for (Index first = begin; first < end; first += size) f(first, std::min(size, end - first));
}

/// The first row of a head in an array [batch, rows, heads, width] whose rows have the distance `step`.
template <class T>
T* head_of(const AttentionShape& of, T* x, Index head, Index rows, Index width, Index step) {
  return x + head / of.heads * rows * step + head % of.heads * width;
}
template <class T>
T* queries_of(const AttentionShape& of, T* x, Index head) {
  return head_of(of, x, head, of.queries, of.width, of.q_row());
}
template <class T>
T* keys_of(const AttentionShape& of, T* x, Index head) {
  return head_of(of, x, head, of.keys, of.width, of.q_row());
}
template <class T>
T* values_of(const AttentionShape& of, T* x, Index head) {
  return head_of(of, x, head, of.keys, of.value_width, of.v_row());
}
template <class T>
T* results_of(const AttentionShape& of, T* x, Index head) {
  return head_of(of, x, head, of.queries, of.value_width, of.y_row());
}

/// Writes the rows of a tile, with row stride `from`, times a factor, as the columns of [width][query_tile];
/// missing rows are 0.
template <class T>
void transpose_queries(const T* x, Index from, Index count, Index width, T factor, T* y) {
  if (count < query_tile) std::fill_n(y, width * query_tile, T{0});
  transpose(x, from, count, width, y, query_tile);
  if (factor == T{1}) return;
  for (Index i = 0; i < width * query_tile; i += lanes<T>) store<T>(y + i, load(y + i) * Batch<T>(factor));
}

/// Scratch memory for one tile: [width][query_tile] queries, [keys][query_tile] scores, and rows to
/// transpose.
template <class T>
struct Buffers {
  T *queries, *upstream, *result, *scores, *slopes, *factors, *row, *statistics;
  explicit Buffers(const AttentionShape& of, bool backward) {
    constexpr Index tile = key_tile * query_tile;
    const Index a = of.width * query_tile, b = of.value_width * query_tile;
    T* at = scratch<T>(a + 2 * b + 4 * tile + 3 * query_tile);
    const auto take = [&](Index n) {
      T* const taken = at;
      at += n;
      return taken;
    };
    queries = take(a);
    result = take(b);
    upstream = backward ? take(b) : nullptr;
    scores = take(tile);
    slopes = take(tile);
    factors = take(tile);
    row = take(tile);
    statistics = take(3 * query_tile);
  }
};

/// Number of registers that contain queries.
template <class T>
Index columns_of(const Tile& tile) {
  return (tile.queries + lanes<T> - 1) / lanes<T> * lanes<T>;
}

/// Adds the mask to the scores of a tile; an excluded key gets -infinity.
template <class T>
void apply_mask(const AttentionShape& of, const AttentionMask<T>& mask, const Tile& tile,
                const Buffers<T>& in) {
  const Batch<T> none(-infinity<T>);
  const auto place = [&](Index query, Index key) {
    return of.mask_at[tile.head] + (tile.first_query + query) * of.mask_query_step +
           (tile.first_key + key) * of.mask_key_step;
  };
  const auto addend = [&](Index at) {
    return mask.added != nullptr ? mask.added[at] : mask.allowed[at] != 0 ? T{0} : -infinity<T>;
  };
  if (mask.added != nullptr || mask.allowed != nullptr) {
    const Index columns = columns_of<T>(tile);
    const bool by_key = of.mask_query_step == 0;  // the same for each query
    if (!by_key) {
      std::fill_n(in.factors, tile.keys * query_tile, T{0});
      for (Index query = 0; query < tile.queries; ++query) {
        T* const row = in.row + query * key_tile;
        if (of.mask_key_step == 0) {
          std::fill_n(row, tile.keys, addend(place(query, 0)));
        } else {
          const Index first = place(query, 0);
          // The keys of a query are adjacent.
          if (mask.added != nullptr)
            std::copy_n(mask.added + first, tile.keys, row);
          else
            for (Index key = 0; key < tile.keys; ++key)
              row[key] = mask.allowed[first + key] != 0 ? T{0} : -infinity<T>;
        }
      }
      transpose(in.row, key_tile, tile.queries, tile.keys, in.factors, query_tile);
    }
    for (Index key = 0; key < tile.keys; ++key) {
      const Batch<T> shared(by_key ? addend(place(0, key)) : T{0});
      for (Index i = 0; i < columns; i += lanes<T>) {
        T* const at = in.scores + key * query_tile + i;
        const Batch<T> m = by_key ? shared : load(in.factors + key * query_tile + i);
        store<T>(at, select(m == none, none, load(at) + m));
      }
    }
  }
  if (of.is_causal)  // query i attends to key j <= i
    for (Index key = 0; key < tile.keys; ++key) {
      const Index hidden = std::clamp<Index>(tile.first_key + key - tile.first_query, Index{0}, tile.queries);
      std::fill_n(in.scores + key * query_tile, hidden, -infinity<T>);
    }
}

/// The factors of dropout, [keys][query_tile]: 0 or 1 / (1 - p).
template <class T>
void draw_dropout(const AttentionShape& of, const Tile& tile, const Buffers<T>& in) {
  constexpr Index per_block = 4;
  T drawn[key_tile + per_block];
  for (Index query = 0; query < tile.queries; ++query) {
    const Index first = (tile.head * of.queries + tile.first_query + query) * of.keys + tile.first_key,
                skipped = first % per_block;
    Generator source = of.dropout;
    source.advance(static_cast<std::uint64_t>(first / per_block));
    retort::detail::fill_kept(std::span<T>(drawn, static_cast<std::size_t>(skipped + tile.keys)), source,
                              1 - of.dropout_p, of.dropout_p == 1 ? 0 : 1 / (1 - of.dropout_p));
    std::copy_n(drawn + skipped, tile.keys, in.row + query * key_tile);
  }
  if (tile.queries < query_tile) std::fill_n(in.factors, tile.keys * query_tile, T{0});
  transpose(in.row, key_tile, tile.queries, tile.keys, in.factors, query_tile);
}

/// The scores of a tile, [keys][query_tile]; the queries are already scaled.
template <class T>
void score(const AttentionShape& of, const AttentionMask<T>& mask, const T* k, const Tile& tile,
           const Buffers<T>& in) {
  const Index step = of.q_row();
  small_product(tile.keys, columns_of<T>(tile), of.width, Operand<T>{k + tile.first_key * step, step, 1},
                in.queries, query_tile, in.scores, query_tile);
  apply_mask(of, mask, tile, in);
}

/// Updates the maxima and sums of exponentials of one register of queries with another tile of scores, and
/// replaces these by their exponentials. Returns the factor by which the previous sums must be multiplied.
template <class T>
Batch<T> meet(T* scores, Index keys, T* greatest, T* sums) {
  std::array<Batch<T>, 4> most;
  most.fill(Batch<T>(-infinity<T>));
  const Batch<T> before = load(greatest);
  most[0] = before;
  in_fours(keys, [&]<int K>(Index key) {
    for (int i = 0; i < K; ++i) most[i] = max_of<T>(load(scores + (key + i) * query_tile), most[i]);
  });
  const Batch<T> now = max_of<T>(max_of<T>(most[0], most[1]), max_of<T>(most[2], most[3]));
  const Batch<T> shift = select(now == Batch<T>(-infinity<T>), Batch<T>(T{0}), now);
  const ScaledExp<T> exponential(1);
  std::array<Batch<T>, 1> factor{before - shift};
  exponential(factor);
  std::array<Batch<T>, 4> total;
  total.fill(Batch<T>(T{0}));
  in_fours(keys, [&]<int K>(Index key) {
    std::array<Batch<T>, K> x;
    for (int i = 0; i < K; ++i) x[i] = load(scores + (key + i) * query_tile) - shift;
    exponential(x);
    for (int i = 0; i < K; ++i) {
      store<T>(scores + (key + i) * query_tile, x[i]);
      total[i] += x[i];
    }
  });
  store<T>(greatest, now);
  store<T>(sums, fma<T>(load(sums), factor[0], (total[0] + total[1]) + (total[2] + total[3])));
  return factor[0];
}

/// Results and log-sums of one tile of queries.
template <class T>
void attend(const AttentionShape& of, const T* q, const T* k, const T* v, const AttentionMask<T>& mask, T* y,
            T* log_sums, Tile tile) {
  const Buffers<T> in(of, false);
  const Index columns = columns_of<T>(tile), width = of.value_width, step = of.v_row();
  T *const greatest = in.statistics, *const sums = greatest + query_tile;
  transpose_queries(q + tile.first_query * of.q_row(), of.q_row(), tile.queries, of.width,
                    static_cast<T>(of.scale), in.queries);
  std::fill_n(in.result, width * query_tile, T{0});
  std::fill_n(greatest, query_tile, -infinity<T>);
  std::fill_n(sums, query_tile, T{0});
  const Index seen = of.is_causal ? std::min(of.keys, tile.first_query + tile.queries) : of.keys;
  in_tiles(0, seen, key_tile, [&](Index first_key, Index keys) {
    tile.first_key = first_key, tile.keys = keys;
    score(of, mask, k, tile, in);
    for (Index i = 0; i < columns; i += lanes<T>) {
      const Batch<T> factor = meet(in.scores + i, keys, greatest + i, sums + i);
      if (first_key > 0 && !xsimd::all(factor == Batch<T>(T{1})))
        for (Index j = 0; j < width; ++j) {
          T* const at = in.result + j * query_tile + i;
          store<T>(at, load(at) * factor);
        }
    }
    if (of.dropout_p > 0) {
      draw_dropout(of, tile, in);
      for (Index i = 0; i < keys * query_tile; i += lanes<T>)
        store<T>(in.scores + i, load(in.scores + i) * load(in.factors + i));
    }
    add_small_product(width, columns, keys, Operand<T>{v + first_key * step, 1, step}, in.scores, query_tile,
                      in.result, query_tile);
  });
  for (Index i = 0; i < columns; i += lanes<T>) {
    const Batch<T> zero(T{0}), sum = load(sums + i);
    const Mask<T> none = sum == zero;
    const Batch<T> share = select(none, zero, Batch<T>(T{1}) / sum);
    for (Index j = 0; j < width; ++j) {
      T* const at = in.result + j * query_tile + i;
      store<T>(at, load(at) * share);
    }
    store<T>(sums + i, select(none, Batch<T>(infinity<T>), load(greatest + i) + log<T>(sum)));
  }
  transpose(in.result, query_tile, width, tile.queries, y + tile.first_query * of.y_row(), of.y_row());
  std::copy_n(sums, tile.queries, log_sums + tile.head * of.queries + tile.first_query);
}

/// The probabilities of a tile and the gradients of its scores times a factor, [keys][query_tile]: p =
/// exp(score - log_sum) and factor · p · (dp - Σ p·dp). The dropout factors are then applied to the
/// probabilities.
template <class T>
void slopes_of(const AttentionShape& of, const AttentionGradients<T>& arrays, const AttentionMask<T>& mask,
               T factor, const Tile& tile, const Buffers<T>& in) {
  const Index step = of.v_row();
  const T *const log_sums = in.statistics, *const means = log_sums + query_tile;
  score(of, mask, keys_of(of, arrays.k, tile.head), tile, in);
  small_product(tile.keys, columns_of<T>(tile), of.value_width,
                Operand<T>{values_of(of, arrays.v, tile.head) + tile.first_key * step, step, 1}, in.upstream,
                query_tile, in.slopes, query_tile);
  if (of.dropout_p > 0) draw_dropout(of, tile, in);
  const Index columns = columns_of<T>(tile);
  const ScaledExp<T> exponential(1);
  const Batch<T> scale(factor);
  for (Index i = 0; i < columns; i += lanes<T>) {
    const Batch<T> shift = load(log_sums + i), mean = load(means + i);
    in_fours(tile.keys, [&]<int K>(Index key) {
      const Index at = key * query_tile + i;
      std::array<Batch<T>, K> p;
      for (int j = 0; j < K; ++j) p[j] = load(in.scores + at + j * query_tile) - shift;
      exponential(p);
      for (int j = 0; j < K; ++j) {
        T *const scores = in.scores + at + j * query_tile, *const slopes = in.slopes + at + j * query_tile;
        Batch<T> dp = load(slopes);
        if (of.dropout_p > 0) {
          const Batch<T> kept = load(in.factors + at + j * query_tile);
          dp = dp * kept;
          store<T>(scores, p[j] * kept);
        } else {
          store<T>(scores, p[j]);
        }
        store<T>(slopes, p[j] * scale * (dp - mean));
      }
    });
  }
}

/// Prepares a tile of queries for slopes_of(): transposed queries and upstream gradients, and per query the
/// log-sum and the sum of y · dy.
template <class T>
void prepare(const AttentionShape& of, const AttentionGradients<T>& arrays, const Tile& tile,
             const Buffers<T>& in) {
  const Index step = of.y_row();
  T *const log_sums = in.statistics, *const means = log_sums + query_tile;
  transpose_queries(queries_of(of, arrays.q, tile.head) + tile.first_query * of.q_row(), of.q_row(),
                    tile.queries, of.width, static_cast<T>(of.scale), in.queries);
  const auto rows = [&](const T* x) { return results_of(of, x, tile.head) + tile.first_query * step; };
  transpose_queries(rows(arrays.dy), step, tile.queries, of.value_width, T{1}, in.upstream);
  transpose_queries(rows(arrays.y), step, tile.queries, of.value_width, T{1}, in.result);
  for (Index i = 0; i < query_tile; i += lanes<T>) {
    Batch<T> mean(T{0});
    for (Index j = 0; j < of.value_width; ++j)
      mean = fma<T>(load(in.result + j * query_tile + i), load(in.upstream + j * query_tile + i), mean);
    store<T>(means + i, mean);
  }
  std::fill_n(log_sums, query_tile, infinity<T>);
  std::copy_n(arrays.log_sums + tile.head * of.queries + tile.first_query, tile.queries, log_sums);
}

/// The first query that attends to any key from `first_key` on, rounded down to a tile.
Index first_query_for(const AttentionShape& of, Index first_key) {
  return of.is_causal ? std::min(first_key, of.queries) / query_tile * query_tile : 0;
}

/// Gradients for the keys [begin, end) of a head: all of dk and dv, and the contribution of these keys to dq,
/// whose rows have the distance dq_row.
template <class T>
void differentiate(const AttentionShape& of, const AttentionGradients<T>& arrays,
                   const AttentionMask<T>& mask, Index head, Index begin, Index end, T* dq, Index dq_row) {
  const Buffers<T> in(of, true);
  const Index q_row = of.q_row(), v_row = of.v_row(), y_row = of.y_row();
  const auto clear = [](T* rows, Index row, Index first, Index last, Index width) {
    for (Index i = first; i < last && rows != nullptr; ++i) std::fill_n(rows + i * row, width, T{0});
    return rows;
  };
  const auto keys_or_null = [&](T* x) { return x == nullptr ? x : keys_of(of, x, head); };
  const auto values_or_null = [&](T* x) { return x == nullptr ? x : values_of(of, x, head); };
  T *const dk = clear(keys_or_null(arrays.dk), q_row, begin, end, of.width), *const dv = clear(
                                                                                 values_or_null(arrays.dv),
                                                                                 v_row, begin, end,
                                                                                 of.value_width);
  if (dq != nullptr)
    dq = clear(head_of(of, dq, head, of.queries, of.width, dq_row), dq_row, 0, of.queries, of.width);
  const T *const q = queries_of(of, arrays.q, head), *const k = keys_of(of, arrays.k, head),
                 *const dy = results_of(of, arrays.dy, head);
  in_tiles(first_query_for(of, begin), of.queries, query_tile, [&](Index first_query, Index queries) {
    Tile tile{head, first_query, queries, 0, 0};
    prepare(of, arrays, tile, in);
    const Index seen = of.is_causal ? std::min(end, first_query + queries) : end;
    in_tiles(begin, seen, key_tile, [&](Index first_key, Index keys) {
      tile.first_key = first_key, tile.keys = keys;
      slopes_of(of, arrays, mask, static_cast<T>(of.scale), tile, in);
      if (dv != nullptr)
        add_small_product(keys, of.value_width, queries, Operand<T>{in.scores, query_tile, 1},
                          dy + first_query * y_row, y_row, dv + first_key * v_row, v_row);
      if (dk != nullptr)
        add_small_product(keys, of.width, queries, Operand<T>{in.slopes, query_tile, 1},
                          q + first_query * q_row, q_row, dk + first_key * q_row, q_row);
      if (dq != nullptr)
        add_small_product(queries, of.width, keys, Operand<T>{in.slopes, 1, query_tile},
                          k + first_key * q_row, q_row, dq + first_query * dq_row, dq_row);
    });
  });
}

/// Gradient of the mask shared by `heads`, for the keys [begin, end).
template <class T>
void differentiate_mask(const AttentionShape& of, const AttentionGradients<T>& arrays,
                        const AttentionMask<T>& mask, std::span<const Index> heads, Index begin, Index end) {
  const Buffers<T> in(of, true);
  for (const Index head : heads)
    in_tiles(first_query_for(of, begin), of.queries, query_tile, [&](Index first_query, Index queries) {
      Tile tile{head, first_query, queries, 0, 0};
      prepare(of, arrays, tile, in);
      const Index seen = of.is_causal ? std::min(end, first_query + queries) : end;
      in_tiles(begin, seen, key_tile, [&](Index first_key, Index keys) {
        tile.first_key = first_key, tile.keys = keys;
        slopes_of(of, arrays, mask, T{1}, tile, in);
        for (Index query = 0; query < queries; ++query)
          for (Index key = 0; key < keys; ++key)
            arrays.dmask[of.mask_at[head] + (first_query + query) * of.mask_query_step +
                         (first_key + key) * of.mask_key_step] += in.slopes[key * query_tile + query];
      });
    });
}

/// Number of parts into which the keys of a head are split for threads; depends only on the sizes.
Index parts_of(const AttentionShape& of) {
  constexpr Index items = 8;
  const Index tiles = (of.keys + key_tile - 1) / key_tile;
  return std::clamp<Index>(items / std::max<Index>(1, of.head_count()), 1, std::max<Index>(1, tiles));
}

}  // namespace

template <class T>
void attention(const AttentionShape& of, const T* q, const T* k, const T* v, const AttentionMask<T>& mask,
               T* y, T* log_sums) {
  const Index tiles = (of.queries + query_tile - 1) / query_tile;
  parallel_for(of.head_count() * tiles, 1, [&](Index begin, Index end) {
    const FlushToZero guard(true);  // denormal weights are negligible compared with the largest
    for (Index i = begin; i < end; ++i) {
      const Index head = i / tiles, first = i % tiles * query_tile;
      attend(of, queries_of(of, q, head), keys_of(of, k, head), values_of(of, v, head), mask,
             results_of(of, y, head), log_sums,
             Tile{head, first, std::min(query_tile, of.queries - first), 0, 0});
    }
  });
}

Index attention_partials(const AttentionShape& of) {
  const Index parts = parts_of(of);
  return parts > 1 ? parts : 0;
}

template <class T>
void attention_backward(const AttentionShape& of, const AttentionGradients<T>& arrays,
                        const AttentionMask<T>& mask) {
  const Index parts = parts_of(of), tiles = (of.keys + key_tile - 1) / key_tile;
  const Index row = of.heads * of.width, size = of.batch * of.queries * row;
  const auto first_key = [&](Index part) { return std::min(of.keys, tiles * part / parts * key_tile); };
  if (arrays.dq != nullptr || arrays.dk != nullptr || arrays.dv != nullptr)
    parallel_for(of.head_count() * parts, 1, [&](Index begin, Index end) {
      const FlushToZero guard(true);
      for (Index i = begin; i < end; ++i) {
        const Index part = i % parts;
        const bool direct = arrays.dq == nullptr || parts == 1;
        differentiate(of, arrays, mask, i / parts, first_key(part), first_key(part + 1),
                      direct ? arrays.dq : arrays.partial + part * size, direct ? of.q_row() : row);
      }
    });
  if (arrays.dq != nullptr && parts > 1)
    parallel_for(of.batch * of.queries, std::max<Index>(1, row_grain / std::max<Index>(1, row)),
                 [&](Index begin, Index end) {
                   for (Index i = begin; i < end; ++i)
                     for (Index j = 0; j < row; ++j) {
                       T sum = arrays.partial[i * row + j];
                       for (Index part = 1; part < parts; ++part)
                         sum += arrays.partial[part * size + i * row + j];
                       arrays.dq[i * of.q_row() + j] = sum;
                     }
                 });
  if (arrays.dmask == nullptr) return;
  // Heads with the same mask are adjacent, in a fixed order.
  std::vector<Index> order(of.mask_at.size()), starts;
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](Index a, Index b) { return of.mask_at[a] < of.mask_at[b]; });
  for (std::size_t i = 0; i < order.size(); ++i)
    if (i == 0 || of.mask_at[order[i]] != of.mask_at[order[i - 1]]) starts.push_back(static_cast<Index>(i));
  const Index masks = static_cast<Index>(starts.size()), strips = of.mask_key_step == 0 ? 1 : tiles;
  starts.push_back(static_cast<Index>(order.size()));
  parallel_for(masks * strips, 1, [&](Index begin, Index end) {
    const FlushToZero guard(true);
    for (Index i = begin; i < end; ++i) {
      const Index at = i / strips, strip = i % strips;
      differentiate_mask(of, arrays, mask,
                         std::span<const Index>(order).subspan(starts[at], starts[at + 1] - starts[at]),
                         strips == 1 ? 0 : strip * key_tile,
                         strips == 1 ? of.keys : std::min(of.keys, (strip + 1) * key_tile));
    }
  });
}

template void attention(const AttentionShape&, const float*, const float*, const float*,
                        const AttentionMask<float>&, float*, float*);
template void attention(const AttentionShape&, const double*, const double*, const double*,
                        const AttentionMask<double>&, double*, double*);
template void attention_backward(const AttentionShape&, const AttentionGradients<float>&,
                                 const AttentionMask<float>&);
template void attention_backward(const AttentionShape&, const AttentionGradients<double>&,
                                 const AttentionMask<double>&);

}  // namespace retort::kernels
