// Shared parts of the normalisation kernels: moments of contiguous numbers, and the two formulas.
#pragma once

#include <algorithm>
#include <cmath>

#include "retort/framework/kernels/norm.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels::detail {

/// Number of elements that stay in the first-level cache between two passes.
inline constexpr Index norm_block = 4096;

/// The mean, relative to an origin, and the sum of squares around the mean.
struct Moments {
  double mean = 0, squares = 0;
};

/// Sums of contiguous numbers, K registers at a time, in T.
template <class T>
struct Sums {
  std::array<Batch<T>, 4> v;
  Sums() { v.fill(Batch<T>(T{0})); }
  double total() const { return static_cast<double>(sum_lanes<T>((v[0] + v[1]) + (v[2] + v[3]))); }
};

/// The moments of x [n], n <= norm_block, relative to `origin`. The second pass is relative to a number close
/// to the mean, which is exact if all elements equal the origin. x may consist of several runs of n elements,
/// at most norm_block altogether.
template <class T>
inline Moments moments_of(const T* x, Index n, T origin, Index runs = 1, Index stride = 0) {
  const Index next = runs == 1 ? ahead : n;  // the following runs are read next
  const double size = static_cast<double>(runs * n);
  Sums<T> sum;
  const Batch<T> start(origin);
  for (Index run = 0; run < runs; ++run)
    walk<T, 4>(n, [&]<int K>(Index i, Index count) {
      const T* const from = x + run * stride + i;
      prefetch_each<K>(from + next);
      const auto v = load_each<K>(from, count, origin);
      for (int k = 0; k < K; ++k) sum.v[k] += v[k] - start;
    });
  const T centre = origin + static_cast<T>(sum.total() / size);
  Sums<T> first, second;
  const Batch<T> middle(centre);
  for (Index run = 0; run < runs; ++run)
    walk<T, 4>(n, [&]<int K>(Index i, Index count) {
      const auto v = load_each<K>(x + run * stride + i, count, centre);
      for (int k = 0; k < K; ++k) {
        const Batch<T> d = v[k] - middle;
        first.v[k] += d;
        second.v[k] = fma<T>(d, d, second.v[k]);
      }
    });
  const double rest = first.total(), mean = rest / size;
  return {(static_cast<double>(centre) - static_cast<double>(origin)) + mean,
          std::max(0.0, second.total() - rest * mean)};
}

template <class T>
inline double square_sum(const T* x, Index n) {
  Sums<T> sum;
  walk<T, 4>(n, [&]<int K>(Index i, Index count) {
    const auto v = load_each<K>(x + i, count, T{0});
    for (int k = 0; k < K; ++k) sum.v[k] = fma<T>(v[k], v[k], sum.v[k]);
  });
  return sum.total();
}

/// One set of the array [4, sets].
template <class T>
struct Statistics {
  T high, low, factor;

  static Statistics at(const T* all, Index set, Index sets) {
    return {all[set], all[sets + set], all[2 * sets + set]};
  }
  /// From the moments relative to `origin`.
  static Statistics store(T* all, Index set, Index sets, T origin, double mean, double variance, double eps) {
    const T high = static_cast<T>(static_cast<double>(origin) + mean);
    const T low = static_cast<T>((static_cast<double>(origin) - static_cast<double>(high)) + mean);
    all[set] = high;
    all[sets + set] = low;
    all[2 * sets + set] = static_cast<T>(1 / std::sqrt(variance + eps));
    all[3 * sets + set] = static_cast<T>(variance);
    return at(all, set, sets);
  }
};

/// x minus its mean.
template <class T>
inline Batch<T> less_mean(const Batch<T>& x, const Batch<T>& high, const Batch<T>& low) {
  return (x - high) - low;
}
/// factor·(weight·g - mean_g - xhat·mean_gx).
template <class T>
inline Batch<T> norm_gradient(const Batch<T>& centred, const Batch<T>& weighted, const Batch<T>& factor,
                              const Batch<T>& mean_g, const Batch<T>& mean_gx) {
  return factor * ((weighted - mean_g) - (centred * factor) * mean_gx);
}

}  // namespace retort::kernels::detail
