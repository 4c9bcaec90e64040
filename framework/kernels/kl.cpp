#include "retort/framework/kernels/kl.hpp"

#include <algorithm>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {
namespace {

constexpr std::int64_t grain = 16384;
constexpr std::int64_t most_parts = 256;

/// 0 if x is not NaN, otherwise NaN: the term of a class without target.
template <class T>
inline Batch<T> nothing(const Batch<T>& x) {
  return select(x == x, Batch<T>(T{0}), x);
}

/// Terms of K registers: t·(log t - x), or exp(t)·(t - x).
template <bool LogTarget, class T, std::size_t K>
inline std::array<Batch<T>, K> terms(const std::array<Batch<T>, K>& x, const std::array<Batch<T>, K>& t) {
  const Batch<T> zero(T{0}), one(T{1}), least(-infinity<T>);
  std::array<Batch<T>, K> y;
  if constexpr (LogTarget) {
    y = t;
    exp_each<T>(y);
    for (std::size_t k = 0; k < K; ++k) y[k] = select(t[k] == least, nothing<T>(x[k]), y[k] * (t[k] - x[k]));
  } else {
    for (std::size_t k = 0; k < K; ++k)
      y[k] = select(t[k] == zero, one, t[k]);  // log is fast only for normal numbers
    log_each<T>(y);
    for (std::size_t k = 0; k < K; ++k) y[k] = select(t[k] == zero, nothing<T>(x[k]), t[k] * (y[k] - x[k]));
  }
  return y;
}

/// d/dx of g·term in K registers: -g·t, or -g·exp(t); it does not depend on x.
template <bool LogTarget, class T, std::size_t K>
inline std::array<Batch<T>, K> input_gradients(const std::array<Batch<T>, K>& t,
                                               const std::array<Batch<T>, K>& g) {
  const Batch<T> zero(T{0}), least(-infinity<T>);
  std::array<Batch<T>, K> y = t;
  if constexpr (LogTarget) exp_each<T>(y);
  for (std::size_t k = 0; k < K; ++k) y[k] = select(t[k] == (LogTarget ? least : zero), zero, -(g[k] * y[k]));
  return y;
}

/// d/dt of g·term in K registers: g·(log t + 1 - x), or g·exp(t)·(t - x + 1).
template <bool LogTarget, class T, std::size_t K>
inline std::array<Batch<T>, K> target_gradients(const std::array<Batch<T>, K>& x,
                                                const std::array<Batch<T>, K>& t,
                                                const std::array<Batch<T>, K>& g) {
  const Batch<T> zero(T{0}), one(T{1}), least(-infinity<T>);
  std::array<Batch<T>, K> y;
  if constexpr (LogTarget) {
    y = t;
    exp_each<T>(y);
    for (std::size_t k = 0; k < K; ++k)
      y[k] = select(t[k] == least, nothing<T>(x[k]), (g[k] * y[k]) * ((t[k] - x[k]) + one));
  } else {
    for (std::size_t k = 0; k < K; ++k) y[k] = select(t[k] == zero, one, t[k]);
    log_each<T>(y);
    for (std::size_t k = 0; k < K; ++k)
      y[k] = select(t[k] == zero, nothing<T>(x[k]), g[k] * ((y[k] + one) - x[k]));
  }
  return y;
}

template <bool LogTarget, class T>
void write_terms(const T* x, const T* t, T* out, std::int64_t n) {
  const bool far = is_far<T>(n);
  parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
    fill_row<T, 4>(out + begin, end - begin, far, [&]<int K>(std::int64_t i, std::int64_t count) {
      return terms<LogTarget, T>(load_each<K>(x + begin + i, count, T{0}),
                                 load_each<K>(t + begin + i, count, T{1}));
    });
  });
}

template <bool LogTarget, class T>
double sum_terms(const T* x, const T* t, std::int64_t n, bool* positive_input) {
  const std::int64_t chunk = std::max(grain, (n / most_parts + grain) / grain * grain);
  double parts[most_parts];
  bool positive[most_parts];
  parallel_for(n, chunk, [&](std::int64_t begin, std::int64_t end) {
    // Padding lanes have no target.
    constexpr T no_target = LogTarget ? -infinity<T> : T{0};
    Batch<T> greatest(T{0});
    parts[begin / chunk] = row_sum<T, 4>(end - begin, [&]<int K>(std::int64_t i, std::int64_t count) {
      prefetch_each<K>(x + begin + i + ahead);
      prefetch_each<K>(t + begin + i + ahead);
      const auto v = load_each<K>(x + begin + i, count, T{0});
      for (const Batch<T>& one : v) greatest = max_of<T>(one, greatest);
      return terms<LogTarget, T>(v, load_each<K>(t + begin + i, count, no_target));
    });
    positive[begin / chunk] = max_lanes<T>(greatest) > T(1e-5);
  });
  double total = 0;
  bool any = false;
  for (std::int64_t i = 0; i * chunk < n; ++i) {
    total += parts[i];
    any = any || positive[i];
  }
  if (positive_input != nullptr) *positive_input = any;
  return total;
}

template <bool LogTarget, class T>
void write_gradients(const T* x, const T* t, const T* g, std::int64_t g_size, double scale, T* dx, T* dt,
                     std::int64_t n) {
  const Batch<T> factor(static_cast<T>(scale));
  const Batch<T> common = g_size == 1 ? Batch<T>(g[0]) * factor : factor;
  const bool far = is_far<T>(n);
  parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
    const auto upstream = [&]<int K>(std::int64_t i, std::int64_t count) {
      std::array<Batch<T>, K> v;
      v.fill(common);
      if (g_size != 1) {
        v = load_each<K>(g + begin + i, count, T{0});
        for (Batch<T>& one : v) one = one * factor;
      }
      return v;
    };
    // Two passes over a chunk that stays in cache.
    if (dx != nullptr)
      fill_row<T, 4>(dx + begin, end - begin, far, [&]<int K>(std::int64_t i, std::int64_t count) {
        return input_gradients<LogTarget, T>(load_each<K>(t + begin + i, count, T{1}),
                                             upstream.template operator()<K>(i, count));
      });
    if (dt != nullptr)
      fill_row<T, 4>(dt + begin, end - begin, far, [&]<int K>(std::int64_t i, std::int64_t count) {
        return target_gradients<LogTarget, T>(load_each<K>(x + begin + i, count, T{0}),
                                              load_each<K>(t + begin + i, count, T{1}),
                                              upstream.template operator()<K>(i, count));
      });
  });
}

}  // namespace

template <class T>
void kl_terms(const T* x, const T* t, T* out, std::int64_t n, bool log_target) {
  if (log_target)
    write_terms<true>(x, t, out, n);
  else
    write_terms<false>(x, t, out, n);
}

template <class T>
double kl_sum(const T* x, const T* t, std::int64_t n, bool log_target, bool* positive_input) {
  return log_target ? sum_terms<true>(x, t, n, positive_input) : sum_terms<false>(x, t, n, positive_input);
}

template <class T>
void kl_backward(const T* x, const T* t, const T* g, std::int64_t g_size, double scale, T* dx, T* dt,
                 std::int64_t n, bool log_target) {
  if (n == 0) return;
  if (log_target)
    write_gradients<true>(x, t, g, g_size, scale, dx, dt, n);
  else
    write_gradients<false>(x, t, g, g_size, scale, dx, dt, n);
}

template void kl_terms(const float*, const float*, float*, std::int64_t, bool);
template void kl_terms(const double*, const double*, double*, std::int64_t, bool);
template double kl_sum(const float*, const float*, std::int64_t, bool, bool*);
template double kl_sum(const double*, const double*, std::int64_t, bool, bool*);
template void kl_backward(const float*, const float*, const float*, std::int64_t, double, float*, float*,
                          std::int64_t, bool);
template void kl_backward(const double*, const double*, const double*, std::int64_t, double, double*, double*,
                          std::int64_t, bool);

}  // namespace retort::kernels
