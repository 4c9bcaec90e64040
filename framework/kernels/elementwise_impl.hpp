// Elementwise loops over a generic callable. float and double are computed in registers (simd_impl.hpp),
// including the remainder of a row, so that an element's bits do not depend on its position.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/broadcast.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {

/// Elements per thread and chunk: about ten microseconds of a light operation.
inline constexpr std::int64_t elementwise_grain = 65536;

/// A function for map() that replaces the values of several registers, std::array<Batch<T>, K>&, by its
/// results. The processor overlaps the long chains of operations of a few registers.
template <class F>
struct Each {
  template <class T>
  Batch<T> operator()(const Batch<T>& v) const {
    std::array<Batch<T>, 1> one{v};
    each(one);
    return one[0];
  }
  F each;
};
template <class F>
Each(F) -> Each<F>;  // which clang 16 does not deduce for an aggregate

namespace detail {

template <class F>
inline constexpr bool takes_several = false;
template <class F>
inline constexpr bool takes_several<Each<F>> = true;
/// As many as leave registers for the constants: AVX-512 has twice as many.
inline constexpr int registers_together = lanes<float> == 16 ? 4 : 2;

// The functions of a row take their arguments by value. Through a reference, the compiler would load pointers
// and constants again after each store, which might have changed them.

/// y[i] = f(x[i]) for i < n.
template <class T, class F>
void map_row(const T* x, T* y, std::int64_t n, bool far, F f) {
  std::int64_t i = 0;
  if constexpr (std::is_floating_point_v<T>) {
    if constexpr (takes_several<F>) {
      for (constexpr int K = registers_together; i + K * lanes<T> <= n; i += K * lanes<T>) {
        std::array<Batch<T>, K> v;
        for (int k = 0; k < K; ++k) {
          const std::int64_t at = i + k * lanes<T>;
          if (far) prefetch(x + at + ahead), prefetch_result(y + at);
          v[k] = load(x + at);
        }
        f.each(v);
        for (int k = 0; k < K; ++k) store<T>(y + i + k * lanes<T>, v[k]);
      }
    }
    for (; i + lanes<T> <= n; i += lanes<T>) {
      if (far) prefetch(x + i + ahead), prefetch_result(y + i);
      store<T>(y + i, f(load(x + i)));
    }
    if (i < n) store_partial<T>(y + i, f(load_partial(x + i, n - i, T{1})), n - i);
  } else {
    for (; i < n; ++i) y[i] = static_cast<T>(f(x[i]));
  }
}

/// y[i] = f(a[i·StepA], b[i·StepB]) for i < n; a step is 0 or 1.
template <int StepA, int StepB, class T, class U, class F>
void zip_row(const T* a, const T* b, U* y, std::int64_t n, bool far, F f) {
  if constexpr (std::is_floating_point_v<T> && std::is_same_v<T, U>) {
    const Batch<T> first_a(*a), first_b(*b);
    std::int64_t i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) {
      Batch<T> va = first_a, vb = first_b;
      if (StepA == 1 && far) prefetch(a + i + ahead);
      if (StepB == 1 && far) prefetch(b + i + ahead);
      if constexpr (StepA == 1) va = load(a + i);
      if constexpr (StepB == 1) vb = load(b + i);
      if (far) prefetch_result(y + i);
      store<T>(y + i, f(va, vb));
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
             F f) {
  if (a_step == 0)
    zip_row<0, 1>(a, b, y, n, far, f);
  else if (b_step == 0)
    zip_row<1, 0>(a, b, y, n, far, f);
  else
    zip_row<1, 1>(a, b, y, n, far, f);
}

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
    });
    return;
  }
  const std::int64_t grain = std::max<std::int64_t>(1, elementwise_grain / n);
  if (n >= short_row) {
    parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) {
      RowWalk<2> walk(plan, begin);
      for (std::int64_t row = begin; row < end; ++row, walk.next())
        zip_row(a + walk.at[0], a_step, b + walk.at[1], b_step, y + row * n, n, far, f);
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
  });
}

}  // namespace detail

/// y[i] = f(x[i]) for i < n. f is called with a Batch<T>, or with an int64. x and y may be the same array.
template <class T, class F>
void map(const T* x, T* y, std::int64_t n, F f) {
  const bool far = is_far<T>(n);
  parallel_for(n, elementwise_grain, [&](std::int64_t begin, std::int64_t end) {
    detail::map_row(x + begin, y + begin, end - begin, far, f);
  });
}

/// y[i] = f(x[i]) for a result of another type; f is called with one element.
template <class T, class U, class F>
void map_to(const T* x, U* y, std::int64_t n, F f) {
  parallel_for(n, elementwise_grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) y[i] = static_cast<U>(f(x[i]));
  });
}

/// y = f(a, b) elementwise according to `plan`. f is called with two Batch<T>, or with two elements if T is
/// int64 or the result has another type.
template <class T, class U, class F>
void zip(const T* a, const T* b, U* y, const Broadcast<2>& plan, F f) {
  detail::zip_any(a, b, y, plan, f);
}

namespace detail {
/// A mask of the lanes where the condition is 0.
template <class T>
inline auto zero_lanes(const std::int64_t* c) {
#if defined(__AVX512F__)
  const __m512i first = _mm512_loadu_si512(c);
  const auto low = _mm512_testn_epi64_mask(first, first);
  if constexpr (std::is_same_v<T, double>) {
    return low;
  } else {
    const __m512i second = _mm512_loadu_si512(c + 8);
    return static_cast<__mmask16>(low | _mm512_testn_epi64_mask(second, second) << 8);
  }
#elif defined(__AVX2__)
  const auto zeros = [](const std::int64_t* at) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    return _mm256_castsi256_pd(_mm256_cmpeq_epi64(v, _mm256_setzero_si256()));
  };
  if constexpr (std::is_same_v<T, double>) {
    return zeros(c);
  } else {
    const __m256 pairs = _mm256_shuffle_ps(_mm256_castpd_ps(zeros(c)), _mm256_castpd_ps(zeros(c + 4)), 0x88);
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(pairs), 0xd8));
  }
#else
  alignas(64) std::array<T, lanes<T>> chosen;
  for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = c[i] != 0 ? T{0} : T{1};
  return Batch<T>::load_aligned(chosen.data()) != Batch<T>(T{0});
#endif
}
/// Bit i % 64 of zeros[i / 64] = (c[i] == 0) for i < n.
inline void note_zeros(const std::int64_t* c, Index n, std::uint64_t* zeros) {
  for (Index i = 0; i < n; i += 64, c += 64) {
    const Index count = std::min<Index>(64, n - i);
    std::uint64_t word = 0;
    Index k = 0;
#if defined(__AVX512F__)
    for (; k + 16 <= count; k += 16) word |= std::uint64_t{zero_lanes<float>(c + k)} << k;
#elif defined(__AVX2__)
    for (; k + 8 <= count; k += 8)
      word |= static_cast<std::uint64_t>(_mm256_movemask_ps(zero_lanes<float>(c + k))) << k;
#endif
    for (; k < count; ++k) word |= std::uint64_t{c[k] == 0} << k;
    *zeros++ = word;
  }
}
/// The mask of zero_lanes() from bits of note_zeros().
template <class T>
auto lanes_of(std::uint64_t bits) {
#if defined(__AVX512F__)
  return static_cast<std::conditional_t<std::is_same_v<T, float>, __mmask16, __mmask8>>(bits);
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) {
    const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), each);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, each));
  } else {
    const __m256i each = _mm256_setr_epi64x(1, 2, 4, 8);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi64x(static_cast<long long>(bits)), each);
    return _mm256_castsi256_pd(_mm256_cmpeq_epi64(set, each));
  }
#else
  std::array<std::int64_t, lanes<T>> chosen;
  for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = (bits >> i & 1) == 0;
  return zero_lanes<T>(chosen.data());
#endif
}
/// b where the mask of zero_lanes() is set, otherwise a.
template <class T, class M>
inline Batch<T> choose_lanes(const M& zero, const Batch<T>& a, const Batch<T>& b) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>)
    return _mm512_mask_blend_ps(zero, a, b);
  else
    return _mm512_mask_blend_pd(zero, a, b);
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>)
    return _mm256_blendv_ps(a, b, zero);
  else
    return _mm256_blendv_pd(a, b, zero);
#else
  return select(zero, b, a);
#endif
}

/// Fetches those of a later register of T.
template <class T>
void prefetch_conditions(const std::int64_t* c) {
  for (Index i = 0; i < lanes<T>; i += 8) prefetch(c + i + ahead / 2);
}

/// y[i] = c[i·step] != 0 ? a[i·step] : b[i·step] for i < n; a step is 0 or 1.
template <class T>
void choose_row(const std::int64_t* c, Index c_step, const T* a, Index a_step, const T* b, Index b_step, T* y,
                Index n, bool far) {
  Index i = 0;
  if constexpr (std::is_floating_point_v<T>) {
    const Batch<T> first_a(*a), first_b(*b);
    for (; c_step == 1 && i + lanes<T> <= n; i += lanes<T>) {
      if (far) prefetch_conditions<T>(c + i), prefetch_result(y + i);
      const Batch<T> yes = a_step == 0 ? first_a : load(a + i), no = b_step == 0 ? first_b : load(b + i);
      store<T>(y + i, choose_lanes<T>(zero_lanes<T>(c + i), yes, no));
    }
  }
  for (; i < n; ++i) y[i] = c[i * c_step] != 0 ? a[i * a_step] : b[i * b_step];
}
}  // namespace detail

/// y = c != 0 ? a : b elementwise according to `plan`. Unless null, `zeros` receives a bit per element of c,
/// which must have y's size: 1 where the element is 0.
template <class T>
void choose(const std::int64_t* c, const T* a, const T* b, T* y, const Broadcast<3>& plan,
            std::uint64_t* zeros) {
  if (plan.size == 0) return;
  const Index n = plan.row_length(), rows = plan.size / n;
  const bool far = is_far<T>(plan.size);
  const auto part = [&](const std::array<Index, 3>& at, Index begin, Index end, T* y_row) {
    const Index c_step = plan.step(0), a_step = plan.step(1), b_step = plan.step(2);
    detail::choose_row(c + at[0] + begin * c_step, c_step, a + at[1] + begin * a_step, a_step,
                       b + at[2] + begin * b_step, b_step, y_row + begin, end - begin, far);
  };
  constexpr Index block = 2048;  // its conditions stay in the first-level cache
  if (rows == 1) {
    parallel_for((n + block - 1) / block, elementwise_grain / block, [&](Index first, Index last) {
      for (Index begin = first * block; begin < std::min(n, last * block); begin += block) {
        const Index end = std::min(n, begin + block);
        part({}, begin, end, y);
        if (zeros != nullptr) detail::note_zeros(c + begin, end - begin, zeros + begin / 64);
      }
    });
    return;
  }
  if (zeros != nullptr)
    parallel_for((plan.size + block - 1) / block, elementwise_grain / block, [&](Index first, Index last) {
      const Index begin = first * block, end = std::min(plan.size, last * block);
      detail::note_zeros(c + begin, end - begin, zeros + begin / 64);
    });
  parallel_for(rows, std::max<Index>(1, elementwise_grain / n), [&](Index begin, Index end) {
    RowWalk<3> walk(plan, begin);
    for (Index row = begin; row < end; ++row, walk.next()) part(walk.at, 0, n, y + row * n);
  });
}

namespace detail {
template <class T>
void split_row(const std::uint64_t* zeros, const T* x, T* yes, T* no, Index n, bool far) {
  Index i = 0;
  if constexpr (std::is_floating_point_v<T>) {
    const Batch<T> nothing(T{0});
    for (; i + lanes<T> <= n; i += lanes<T>) {
      if (far) {
        prefetch(x + i + ahead);
        if (yes != nullptr) prefetch_result(yes + i);
        if (no != nullptr) prefetch_result(no + i);
      }
      const auto zero = lanes_of<T>(zeros[i / 64] >> i % 64);
      const Batch<T> v = load(x + i);
      if (yes != nullptr) store<T>(yes + i, choose_lanes<T>(zero, v, nothing));
      if (no != nullptr) store<T>(no + i, choose_lanes<T>(zero, nothing, v));
    }
  }
  for (; i < n; ++i) {
    const bool is_zero = (zeros[i / 64] >> i % 64 & 1) != 0;
    if (yes != nullptr) yes[i] = is_zero ? T{0} : x[i];
    if (no != nullptr) no[i] = is_zero ? x[i] : T{0};
  }
}
}  // namespace detail

/// From the bits of choose(): yes = x where the condition is not 0, no = x where it is, and otherwise 0, for
/// n elements; yes or no may be null.
template <class T>
void split_by(const std::uint64_t* zeros, const T* x, T* yes, T* no, Index n) {
  const bool far = is_far<T>(n);
  parallel_for((n + 63) / 64, elementwise_grain / 64, [&](Index first, Index last) {
    const Index begin = 64 * first, end = std::min(n, 64 * last);
    const auto from = [begin](T* y) { return y == nullptr ? nullptr : y + begin; };
    detail::split_row(zeros + first, x + begin, from(yes), from(no), end - begin, far);
  });
}

/// Gradients of y[r][i] = x[r][i]·column[r] for the gradient g of y, in one pass. dx and d_column may be
/// null.
template <class T>
void scale_rows_backward(const T* x, const T* column, const T* g, T* dx, T* d_column, Index rows, Index n) {
  const bool far = is_far<T>(rows * n);
  parallel_for(rows, rows_at_a_time(n), [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const T *const xs = x + row * n, *const gs = g + row * n;
      T* const to = dx == nullptr ? nullptr : dx + row * n;
      const Batch<T> factor(column[row]);
      const double sum = row_sum<T, 4>(n, [&]<int K>(Index i, Index count) {
        if (far) prefetch_each<K>(xs + i + ahead), prefetch_each<K>(gs + i + ahead);
        auto v = load_each<K>(xs + i, count, T{0});
        const auto vg = load_each<K>(gs + i, count, T{0});
        for (int k = 0; k < K; ++k) {
          if (to != nullptr) {
            if (far) prefetch_result(to + i + k * lanes<T>);
            store_lanes<T>(to + i + k * lanes<T>, vg[k] * factor, count);
          }
          v[k] *= vg[k];
        }
        return v;
      });
      if (d_column != nullptr) d_column[row] = static_cast<T>(sum);
    }
  });
}

}  // namespace retort::kernels
