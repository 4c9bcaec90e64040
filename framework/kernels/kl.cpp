#include "retort/framework/kernels/kl.hpp"

#include <algorithm>

#include "retort/framework/kernels/parallel.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {
namespace {

constexpr std::int64_t grain = 16384;
constexpr std::int64_t most_parts = 256;

/// t·(log t - x), or exp(t)·(t - x). Where t (exp(t)) is 0 the value is that of x - x but for infinities: 0, or
/// NaN for NaN.
template <bool LogTarget, class T>
Batch<T> term(const Batch<T>& x, const Batch<T>& t) {
  const Batch<T> zero(T{0});
  const Batch<T> none = select(x == x, zero, x);
  if constexpr (LogTarget) return select(t == Batch<T>(-infinity<T>), none, exp<T>(t) * (t - x));
  else return select(t == zero, none, t * (log<T>(t) - x));
}

template <class T>
struct Gradients {
  Batch<T> x, t;
};

/// The gradients of g·term for x and t. That for x does not depend on x; that for t shows a NaN in it.
template <bool LogTarget, class T>
Gradients<T> gradients(const Batch<T>& x, const Batch<T>& t, const Batch<T>& g) {
  const Batch<T> zero(T{0}), one(T{1});
  const Batch<T> none = select(x == x, zero, x);
  if constexpr (LogTarget) {
    const auto no_target = t == Batch<T>(-infinity<T>);
    const Batch<T> p = g * exp<T>(t);
    return {select(no_target, zero, -p), select(no_target, none, p * ((t - x) + one))};
  } else {
    const auto no_target = t == zero;
    return {select(no_target, zero, -(g * t)), select(no_target, none, g * ((log<T>(t) + one) - x))};
  }
}

template <bool LogTarget, class T>
double sum_terms(const T* x, const T* t, std::int64_t n, bool* positive_input) {
  const std::int64_t chunk = std::max(grain, (n / most_parts + grain) / grain * grain);
  double parts[most_parts];
  bool positive[most_parts];
  parallel_for(n, chunk, [&](std::int64_t begin, std::int64_t end) {
    // A lane that is filled up has no target.
    constexpr T no_target = LogTarget ? -infinity<T> : T{0};
    Batch<T> greatest(T{0});
    parts[begin / chunk] = row_sum<T>(end - begin, [&](std::int64_t i, std::int64_t count) {
      const Batch<T> v = load_lanes(x + begin + i, count, T{0});
      greatest = max_of<T>(v, greatest);
      return term<LogTarget, T>(v, load_lanes(t + begin + i, count, no_target));
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
  parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i += lanes<T>) {
      const std::int64_t count = std::min(lanes<T>, end - i);
      const Batch<T> upstream = g_size == 1 ? common : load_lanes(g + i, count, T{0}) * factor;
      const Gradients<T> result =
          gradients<LogTarget, T>(load_lanes(x + i, count, T{0}), load_lanes(t + i, count, T{1}), upstream);
      if (dx != nullptr) store_lanes(dx + i, result.x, count);
      if (dt != nullptr) store_lanes(dt + i, result.t, count);
    }
  });
}

}  // namespace

template <class T>
void kl_terms(const T* x, const T* t, T* out, std::int64_t n, bool log_target) {
  parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i += lanes<T>) {
      const std::int64_t count = std::min(lanes<T>, end - i);
      const Batch<T> v = load_lanes(x + i, count, T{0}), target = load_lanes(t + i, count, T{1});
      store_lanes(out + i, log_target ? term<true, T>(v, target) : term<false, T>(v, target), count);
    }
  });
}

template <class T>
double kl_sum(const T* x, const T* t, std::int64_t n, bool log_target, bool* positive_input) {
  return log_target ? sum_terms<true>(x, t, n, positive_input) : sum_terms<false>(x, t, n, positive_input);
}

template <class T>
void kl_backward(const T* x, const T* t, const T* g, std::int64_t g_size, double scale, T* dx, T* dt, std::int64_t n,
                 bool log_target) {
  if (n == 0) return;
  if (log_target) write_gradients<true>(x, t, g, g_size, scale, dx, dt, n);
  else write_gradients<false>(x, t, g, g_size, scale, dx, dt, n);
}

template void kl_terms(const float*, const float*, float*, std::int64_t, bool);
template void kl_terms(const double*, const double*, double*, std::int64_t, bool);
template double kl_sum(const float*, const float*, std::int64_t, bool, bool*);
template double kl_sum(const double*, const double*, std::int64_t, bool, bool*);
template void kl_backward(const float*, const float*, const float*, std::int64_t, double, float*, float*, std::int64_t,
                          bool);
template void kl_backward(const double*, const double*, const double*, std::int64_t, double, double*, double*,
                          std::int64_t, bool);

}  // namespace retort::kernels
