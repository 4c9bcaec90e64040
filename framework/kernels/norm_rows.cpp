// Layer and RMS norm: each row is a set, read from memory once and then from the cache.
#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/norm_impl.hpp"

namespace retort::kernels {
namespace {

using detail::norm_block;
using detail::Statistics;
using detail::Sums;

constexpr Index most_parts = 64;      // maximum number of partial sums of the weights' gradients
constexpr Index rows_in_floats = 16;  // rows summed in T before they are added to doubles

Index rows_in_part(const NormRows& layout) {
  const Index parts = std::min(most_parts, std::max<Index>(4, layout.rows / rows_in_floats));
  const Index rows = (layout.rows + parts - 1) / parts;
  const Index least = rows_at_a_time(layout.n);
  // Each part starts with the first row of the weights.
  return (std::max(rows, least) + layout.period - 1) / layout.period * layout.period;
}

template <class T>
Statistics<T> row_statistics(const T* x, T* statistics, Index row, const NormRows& layout) {
  const auto [rows, n, period, centred, eps] = layout;
  double mean = 0, squares = 0;
  if (!centred) {
    for (Index begin = 0; begin < n; begin += norm_block)
      squares += detail::square_sum(x + begin, std::min(norm_block, n - begin));
    return Statistics<T>::store(statistics, row, rows, T{0}, 0, squares / static_cast<double>(n), eps);
  }
  for (Index begin = 0; begin < n; begin += norm_block) {
    const Index count = std::min(norm_block, n - begin);
    const detail::Moments part = detail::moments_of(x + begin, count, x[0]);
    const double difference = part.mean - mean,
                 share = static_cast<double>(count) / static_cast<double>(begin + count);
    squares += part.squares + difference * difference * share * static_cast<double>(begin);
    mean += difference * share;
  }
  return Statistics<T>::store(statistics, row, rows, x[0], mean, squares / static_cast<double>(n), eps);
}

/// The contribution of one row to the gradients of weight and bias, and the means needed for its dx.
template <class T>
struct RowMeans {
  T g, gx;
};
template <bool parameters, class T>
RowMeans<T> row_sums(const T* x, const T* weight, const T* g, const Statistics<T>& s, T* d_weight, T* d_bias,
                     Index n) {
  const Batch<T> high(s.high), low(s.low), factor(s.factor);
  double sum_g = 0, sum_gx = 0;
  for (Index begin = 0; begin < n; begin += norm_block) {
    Sums<T> of_g, of_gx;
    walk<T, 4>(std::min(norm_block, n - begin), [&]<int K>(Index at, Index count) {
      const Index i = begin + at;
      prefetch_each<K>(x + i + ahead);
      prefetch_each<K>(g + i + ahead);
      const auto vx = load_each<K>(x + i, count, s.high), vg = load_each<K>(g + i, count, T{0}),
                 vw = load_each<K>(weight + i, count, T{0});
      std::array<Batch<T>, K> dw, db;
      if constexpr (parameters)
        dw = load_each<K>(d_weight + i, count, T{0}), db = load_each<K>(d_bias + i, count, T{0});
      for (int k = 0; k < K; ++k) {
        const Batch<T> normal = detail::less_mean<T>(vx[k], high, low) * factor, weighted = vg[k] * vw[k];
        of_g.v[k] += weighted;
        of_gx.v[k] = fma<T>(weighted, normal, of_gx.v[k]);
        if constexpr (parameters) dw[k] = fma<T>(vg[k], normal, dw[k]), db[k] += vg[k];
      }
      if constexpr (parameters) store_each<T>(d_weight + i, dw, count), store_each<T>(d_bias + i, db, count);
    });
    sum_g += of_g.total();
    sum_gx += of_gx.total();
  }
  return {static_cast<T>(sum_g / static_cast<double>(n)), static_cast<T>(sum_gx / static_cast<double>(n))};
}

}  // namespace

Index norm_rows_workspace(const NormRows& layout) {
  const Index part = rows_in_part(layout);
  return 2 * layout.period * layout.n * ((layout.rows + part - 1) / part);
}

template <class T>
void norm_rows(const T* x, const T* weight, const T* bias, T* y, T* statistics, const NormRows& layout) {
  const Index rows = layout.rows, n = layout.n, period = layout.period;
  if (n == 0) return;
  const bool far = is_far<T>(rows * n);
  parallel_for(rows, rows_at_a_time(n), [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const T* const from = x + row * n;
      const T *const w = weight + row % period * n, *const b = bias + row % period * n;
      const Statistics<T> s = row_statistics(from, statistics, row, layout);
      const Batch<T> high(s.high), low(s.low), factor(s.factor);
      fill_row<T, 4>(y + row * n, n, far, [&]<int K>(Index i, Index count) {
        auto v = load_each<K>(from + i, count, T{0});
        const auto vw = load_each<K>(w + i, count, T{0}), vb = load_each<K>(b + i, count, T{0});
        for (int k = 0; k < K; ++k)
          v[k] = fma<T>(detail::less_mean<T>(v[k], high, low) * factor, vw[k], vb[k]);
        return v;
      });
    }
  });
}

template <class T>
void norm_rows_backward(const T* x, const T* weight, const T* statistics, const T* g, T* dx, T* d_weight,
                        T* d_bias, double* workspace, const NormRows& layout) {
  const auto [rows, n, period, centred, eps] = layout;
  const bool parameters = d_weight != nullptr || d_bias != nullptr;
  const bool far = is_far<T>(rows * n);
  const Index part_rows = rows_in_part(layout), lines = period * n,
              parts = (rows + part_rows - 1) / part_rows;
  parallel_for(
      n == 0 ? 0 : rows, part_rows,
      [&, rows = rows, n = n, period = period, centred = centred](Index begin, Index end) {
        double* const sums = workspace + begin / part_rows * 2 * lines;
        T* const local = parameters ? scratch<T>(2 * lines) : nullptr;
        if (parameters) std::fill_n(sums, 2 * lines, 0.0);
        for (Index first = begin; first < end; first += rows_in_floats * period) {
          const Index last = std::min(end, first + rows_in_floats * period);
          if (parameters) std::fill_n(local, 2 * lines, T{0});
          for (Index row = first; row < last; ++row) {
            const Index line = row % period * n;
            const T *const from = x + row * n, *const upstream = g + row * n, *const w = weight + line;
            const auto s = Statistics<T>::at(statistics, row, rows);
            const RowMeans<T> means =
                parameters ? row_sums<true>(from, w, upstream, s, local + line, local + lines + line, n)
                           : row_sums<false>(from, w, upstream, s, local, local, n);
            if (dx == nullptr) continue;
            const Batch<T> high(s.high), low(s.low), factor(s.factor), of_g(centred ? means.g : T{0}),
                of_gx(means.gx);
            fill_row<T, 4>(dx + row * n, n, far, [&]<int K>(Index i, Index count) {
              auto v = load_each<K>(from + i, count, T{0});
              const auto vg = load_each<K>(upstream + i, count, T{0}), vw = load_each<K>(w + i, count, T{0});
              for (int k = 0; k < K; ++k)
                v[k] = detail::norm_gradient<T>(detail::less_mean<T>(v[k], high, low), vg[k] * vw[k], factor,
                                                of_g, of_gx);
              return v;
            });
          }
          for (Index i = 0; parameters && i < 2 * lines; ++i) sums[i] += static_cast<double>(local[i]);
        }
      });
  const auto add_parts = [&](T* gradient, Index offset) {
    if (gradient == nullptr) return;
    for (Index part = 1; part < parts; ++part)
      for (Index i = 0; i < lines; ++i) workspace[offset + i] += workspace[part * 2 * lines + offset + i];
    for (Index i = 0; i < lines; ++i) gradient[i] = parts == 0 ? T{0} : static_cast<T>(workspace[offset + i]);
  };
  add_parts(d_weight, 0);
  add_parts(d_bias, lines);
}

template void norm_rows(const float*, const float*, const float*, float*, float*, const NormRows&);
template void norm_rows(const double*, const double*, const double*, double*, double*, const NormRows&);
template void norm_rows_backward(const float*, const float*, const float*, const float*, float*, float*,
                                 float*, double*, const NormRows&);
template void norm_rows_backward(const double*, const double*, const double*, const double*, double*, double*,
                                 double*, double*, const NormRows&);

}  // namespace retort::kernels
