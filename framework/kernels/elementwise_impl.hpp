// Elementwise loops. The caller gives the formula as a generic callable; float and double run it on registers
// (simd_impl.hpp), the rest of a row included, so that an element's bits do not depend on its place.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/broadcast.hpp"
#include "retort/framework/kernels/simd_impl.hpp"

namespace retort::kernels {

/// Elements that one thread takes at a time: some ten microseconds of a light operation.
inline constexpr std::int64_t elementwise_grain = 65536;

namespace detail {

/// Whether arrays of n elements lie in memory rather than in the caches.
template <class T>
constexpr bool is_far(std::int64_t n) {
  return n * static_cast<std::int64_t>(sizeof(T)) >= streamed_bytes;
}
template <class T>
inline void put(T* y, const Batch<T>& v, bool streamed) {
  if (streamed)
    store_past_cache<T>(y, v);
  else
    store<T>(y, v);
}

/// y[i] = f(a[i·StepA], b[i·StepB]) for i < n; a step is 0 or 1.
template <int StepA, int StepB, class T, class U, class F>
void zip_row(const T* a, const T* b, U* y, std::int64_t n, bool far, const F& f) {
  if constexpr (std::is_floating_point_v<T> && std::is_same_v<T, U>) {
    const Batch<T> first_a(*a), first_b(*b);
    const bool streamed = far && is_aligned(y) && y != a && y != b;  // what is written over is fetched anyway
    std::int64_t i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) {
      Batch<T> va = first_a, vb = first_b;
      if (StepA == 1 && far) prefetch(a + i + ahead);
      if (StepB == 1 && far) prefetch(b + i + ahead);
      if constexpr (StepA == 1) va = load(a + i);
      if constexpr (StepB == 1) vb = load(b + i);
      put<T>(y + i, f(va, vb), streamed);
    }
    if (const std::int64_t rest = n - i; rest > 0) {
      Batch<T> va = first_a, vb = first_b;
      if constexpr (StepA == 1) va = load_partial(a + i, rest, T{1});
      if constexpr (StepB == 1) vb = load_partial(b + i, rest, T{1});
      store_partial<T>(y + i, f(va, vb), rest);
    }
  } else {
    for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<U>(f(a[i * StepA], b[i * StepB]));
  }
}

template <class T, class U, class F>
void zip_row(const T* a, std::int64_t a_step, const T* b, std::int64_t b_step, U* y, std::int64_t n, bool far,
             const F& f) {
  if (a_step == 0)
    zip_row<0, 1>(a, b, y, n, far, f);
  else if (b_step == 0)
    zip_row<1, 0>(a, b, y, n, far, f);
  else
    zip_row<1, 1>(a, b, y, n, far, f);
}

/// Rows shorter than this are put side by side, operands written out, before the formula runs over them.
inline constexpr std::int64_t short_row = 64;

template <class T>
void write_out(const T* x, std::int64_t step, std::int64_t n, T* y) {
  if (step == 0)
    std::fill_n(y, n, *x);
  else
    std::copy_n(x, n, y);
}

template <class T, class U, class F>
void zip_any(const T* a, const T* b, U* y, const Broadcast<2>& plan, const F& f) {
  if (plan.size == 0) return;
  const Index n = plan.row_length(), rows = plan.size / n;
  const Index a_step = plan.step(0), b_step = plan.step(1);
  const bool far = is_far<U>(plan.size);
  if (rows == 1) {
    parallel_for(n, elementwise_grain, [&](std::int64_t begin, std::int64_t end) {
      zip_row(a + begin * a_step, a_step, b + begin * b_step, b_step, y + begin, end - begin, far, f);
      if (far) finish_stores();
    });
    return;
  }
  const std::int64_t grain = std::max<std::int64_t>(1, elementwise_grain / n);
  if (n >= short_row) {
    parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) {
      RowWalk<2> walk(plan, begin);
      for (std::int64_t row = begin; row < end; ++row, walk.next())
        zip_row(a + walk.at[0], a_step, b + walk.at[1], b_step, y + row * n, n, far, f);
      if (far) finish_stores();
    });
    return;
  }
  const bool whole_a = plan.whole(0), whole_b = plan.whole(1);
  parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) {
    constexpr std::int64_t room = 1024;
    alignas(64) T rows_of_a[room], rows_of_b[room];
    const std::int64_t together = room / n;
    RowWalk<2> walk(plan, begin);
    for (std::int64_t row = begin; row < end; row += together) {
      const std::int64_t count = std::min(together, end - row);
      for (std::int64_t i = 0; i < count; ++i, walk.next()) {
        if (!whole_a) write_out(a + walk.at[0], a_step, n, rows_of_a + i * n);
        if (!whole_b) write_out(b + walk.at[1], b_step, n, rows_of_b + i * n);
      }
      zip_row<1, 1>(whole_a ? a + row * n : rows_of_a, whole_b ? b + row * n : rows_of_b, y + row * n,
                    count * n, far, f);
    }
    if (far) finish_stores();
  });
}

}  // namespace detail

/// y[i] = f(x[i]) for i < n. f is called with a Batch<T>, or with an int64. x and y may be the same array.
template <class T, class F>
void map(const T* x, T* y, std::int64_t n, F f) {
  const bool far = detail::is_far<T>(n), streamed = far && is_aligned(y) && x != y;
  parallel_for(n, elementwise_grain, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t i = begin;
    if constexpr (std::is_floating_point_v<T>) {
      for (; i + lanes<T> <= end; i += lanes<T>) {
        if (far) prefetch(x + i + ahead);
        detail::put<T>(y + i, f(load(x + i)), streamed);
      }
      if (streamed) finish_stores();
      if (i < end) store_partial<T>(y + i, f(load_partial(x + i, end - i, T{1})), end - i);
    } else {
      for (; i < end; ++i) y[i] = static_cast<T>(f(x[i]));
    }
  });
}

/// y[i] = f(x[i]) where the result has another type; f is called with one element.
template <class T, class U, class F>
void map_to(const T* x, U* y, std::int64_t n, F f) {
  parallel_for(n, elementwise_grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) y[i] = static_cast<U>(f(x[i]));
  });
}

/// y = f(a, b) elementwise under `plan`. f is called with two Batch<T>, or with two elements where T is int64
/// or the result has another type.
template <class T, class U, class F>
void zip(const T* a, const T* b, U* y, const Broadcast<2>& plan, F f) {
  detail::zip_any(a, b, y, plan, f);
}

/// y = f(c, a, b) elementwise under `plan`; f is called with one element of each.
template <class C, class T, class F>
void zip3(const C* c, const T* a, const T* b, T* y, const Broadcast<3>& plan, F f) {
  if (plan.size == 0) return;
  const Index n = plan.row_length(), rows = plan.size / n;
  const Index c_step = plan.step(0), a_step = plan.step(1), b_step = plan.step(2);
  const auto part = [&](const std::array<Index, 3>& at, Index begin, Index end, T* y_row) {
    const C* cs = c + at[0];
    const T *as = a + at[1], *bs = b + at[2];
    if (c_step + a_step + b_step == 3)
      for (Index i = begin; i < end; ++i) y_row[i] = f(cs[i], as[i], bs[i]);
    else if (c_step == 1 && a_step == 1)
      for (Index i = begin; i < end; ++i) y_row[i] = f(cs[i], as[i], *bs);
    else if (c_step == 1 && b_step == 1)
      for (Index i = begin; i < end; ++i) y_row[i] = f(cs[i], *as, bs[i]);
    else
      for (Index i = begin; i < end; ++i) y_row[i] = f(cs[i * c_step], as[i * a_step], bs[i * b_step]);
  };
  if (rows == 1) {
    parallel_for(n, elementwise_grain, [&](Index begin, Index end) { part({}, begin, end, y); });
    return;
  }
  parallel_for(rows, std::max<Index>(1, elementwise_grain / n), [&](Index begin, Index end) {
    RowWalk<3> walk(plan, begin);
    for (Index row = begin; row < end; ++row, walk.next()) part(walk.at, 0, n, y + row * n);
  });
}

}  // namespace retort::kernels
