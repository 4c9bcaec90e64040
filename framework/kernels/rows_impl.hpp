// Pieces of the softmax family along one contiguous row, shared by softmax.cpp and distillation.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "retort/framework/kernels/simd_impl.hpp"

namespace retort::kernels {

/// Elements whose exponentials one thread computes at a time: some ten microseconds.
inline constexpr std::int64_t row_grain = 16384;
/// Elements summed in T before they are added to a double.
inline constexpr std::int64_t row_block = 512;

inline std::int64_t rows_at_a_time(std::int64_t row) { return std::max<std::int64_t>(1, row_grain / std::max<std::int64_t>(1, row)); }

/// The maximum of x [n], -infinity for none. NaN is passed over: the exponentials show it.
template <class T>
T row_max(const T* x, std::int64_t n) {
  constexpr std::int64_t step = 4 * lanes<T>;
  Batch<T> a(-infinity<T>), b = a, c = a, d = a;
  std::int64_t i = 0;
  for (; i + step <= n; i += step) {
    a = max_of<T>(load(x + i), a);
    b = max_of<T>(load(x + i + lanes<T>), b);
    c = max_of<T>(load(x + i + 2 * lanes<T>), c);
    d = max_of<T>(load(x + i + 3 * lanes<T>), d);
  }
  for (; i + lanes<T> <= n; i += lanes<T>) a = max_of<T>(load(x + i), a);
  if (i < n) b = max_of<T>(load_partial(x + i, n - i, -infinity<T>), b);
  return max_lanes<T>(max_of<T>(max_of<T>(a, b), max_of<T>(c, d)));
}

/// The sum over i < n of what term(i, count) gives for the lanes i … i + count - 1; where count < lanes, the
/// other lanes must come out as 0.
template <class T, class F>
double row_sum(std::int64_t n, F term) {
  constexpr std::int64_t step = 4 * lanes<T>;
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += row_block) {
    const std::int64_t end = std::min(n, begin + row_block);
    Batch<T> sum(T{0});
    std::int64_t i = begin;
    for (; i + step <= end; i += step) {
      const Batch<T> a = term(i, lanes<T>), b = term(i + lanes<T>, lanes<T>);
      const Batch<T> c = term(i + 2 * lanes<T>, lanes<T>), d = term(i + 3 * lanes<T>, lanes<T>);
      sum += (a + b) + (c + d);
    }
    for (; i < end; i += lanes<T>) sum += term(i, std::min(lanes<T>, end - i));
    total += static_cast<double>(sum_lanes<T>(sum));
  }
  return total;
}

/// The `count` lanes from x, or all of them; the others are `fill`.
template <class T>
inline Batch<T> load_lanes(const T* x, std::int64_t count, T fill) {
  return count == lanes<T> ? load(x) : load_partial(x, count, fill);
}
template <class T>
inline void store_lanes(T* y, const Batch<T>& v, std::int64_t count) {
  if (count == lanes<T>) store(y, v);
  else store_partial(y, v, count);
}

/// y[i] = f(i, count) for the lanes of a row, i a multiple of lanes.
template <class T, class F>
void fill_row(T* y, std::int64_t n, F f) {
  std::int64_t i = 0;
  for (; i + lanes<T> <= n; i += lanes<T>) store<T>(y + i, f(i, lanes<T>));
  if (i < n) store_partial<T>(y + i, f(i, n - i), n - i);
}

/// A row in `Count` registers, its last one filled up with `fill`.
template <class T, int Count>
struct Registers {
  Registers() = default;
  Registers(const T* x, std::int64_t n, T fill) {
    for (int k = 0; k < Count - 1; ++k) v[k] = load(x + k * lanes<T>);
    v[Count - 1] = load_lanes(x + (Count - 1) * lanes<T>, n - (Count - 1) * lanes<T>, fill);
  }
  void store_to(T* y, std::int64_t n) const {
    for (int k = 0; k < Count - 1; ++k) store(y + k * lanes<T>, v[k]);
    store_lanes(y + (Count - 1) * lanes<T>, v[Count - 1], n - (Count - 1) * lanes<T>);
  }
  T max() const {
    Batch<T> m = max_of<T>(v[0], Batch<T>(-infinity<T>));
    for (int k = 1; k < Count; ++k) m = max_of<T>(v[k], m);
    return max_lanes<T>(m);
  }
  T sum() const {
    Batch<T> s = v[0];
    for (int k = 1; k < Count; ++k) s += v[k];
    return sum_lanes<T>(s);
  }

  Batch<T> v[Count];
};

/// Calls f.template operator()<Count>() with the registers that a row of n takes, if those are at most 4.
template <class T, class F>
bool in_registers(std::int64_t n, F f) {
  switch ((n + lanes<T> - 1) / lanes<T>) {
    case 1: f.template operator()<1>(); return true;
    case 2: f.template operator()<2>(); return true;
    case 3: f.template operator()<3>(); return true;
    case 4: f.template operator()<4>(); return true;
    default: return false;
  }
}

/// K sums over i < n at once: add(i, count, sums) adds its lanes to sums[0 … K - 1], zeros for those beyond count.
template <class T, int K, class F>
std::array<double, K> row_sums(std::int64_t n, F add) {
  constexpr std::int64_t step = 32 * lanes<T>;
  std::array<double, K> totals{};
  for (std::int64_t begin = 0; begin < n; begin += step) {
    const std::int64_t end = std::min(n, begin + step);
    Batch<T> sums[K];
    for (Batch<T>& sum : sums) sum = Batch<T>(T{0});
    std::int64_t i = begin;
    for (; i + lanes<T> <= end; i += lanes<T>) add(i, lanes<T>, sums);
    if (i < end) add(i, end - i, sums);
    for (int k = 0; k < K; ++k) totals[k] += static_cast<double>(sum_lanes<T>(sums[k]));
  }
  return totals;
}

/// x[i] = log(x[i]) for i < n.
inline void log_in_place(double* x, std::int64_t n) {
  fill_row(x, n, [x](std::int64_t i, std::int64_t count) { return log<double>(load_lanes(x + i, count, 1.0)); });
}

}  // namespace retort::kernels
