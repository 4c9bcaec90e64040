// One register of float or double, iteration over rows of any length, and exp and log. The parts of xsimd 8.1
// used are those that are correct on SSE2, AVX2 and AVX-512.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"  // false positives of g++ 12 in its own AVX-512 header
#endif
#include <xsimd/xsimd.hpp>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include "retort/framework/kernels/series.hpp"

namespace retort::kernels {

/// One register of T: 4, 8 or 16 floats, half as many doubles.
template <class T>
using Batch = xsimd::batch<T>;
template <class T>
using Mask = typename Batch<T>::batch_bool_type;
template <class T>
inline constexpr std::int64_t lanes = static_cast<std::int64_t>(Batch<T>::size);
template <class T>
inline constexpr T infinity = std::numeric_limits<T>::infinity();

/// a·b + c, fused if the machine supports it (xsimd 8.1 does not fuse on AVX-512).
template <class T>
inline Batch<T> fma(const Batch<T>& a, const Batch<T>& b, const Batch<T>& c) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>)
    return _mm512_fmadd_ps(a, b, c);
  else
    return _mm512_fmadd_pd(a, b, c);
#else
  return xsimd::fma(a, b, c);
#endif
}

template <class T>
inline Batch<T> load(const T* x) {
  return Batch<T>::load_unaligned(x);
}
template <class T>
inline void store(T* y, const Batch<T>& v) {
  v.store_unaligned(y);
}

/// Prefetches data needed some steps later; the hardware prefetcher stops at the page boundary.
template <class T>
inline void prefetch(const T* x) {
  __builtin_prefetch(x);
}
/// Prefetch distance in elements, for long rows.
inline constexpr std::int64_t ahead = 2048;

/// Results of at least this many bytes are not in the second-level cache when they are written.
inline constexpr std::int64_t far_bytes = std::int64_t{1} << 20;
/// True if arrays of n elements of T are that large.
template <class T>
constexpr bool is_far(std::int64_t n) {
  return n * static_cast<std::int64_t>(sizeof(T)) >= far_bytes;
}
/// Fetches memory to be written some steps later, if is_far(): a core can have only few stores in flight.
/// Non-temporal stores are slower still, unless many cores share the memory.
template <class T>
inline void prefetch_result(T* y) {
  __builtin_prefetch(y + ahead / 4, 1);
}

#if defined(__AVX__) && !defined(__AVX512F__)
namespace detail {
alignas(64) inline constexpr std::int32_t first_lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                             0,  0,  0,  0,  0,  0,  0,  0};
}
#endif

/// Loads the first `count` lanes from x (0 < count < lanes), `fill` in the others. Reads nothing from x +
/// count on.
template <class T>
inline Batch<T> load_partial(const T* x, std::int64_t count, T fill) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>)
    return _mm512_mask_loadu_ps(Batch<T>(fill), static_cast<__mmask16>((1u << count) - 1), x);
  else
    return _mm512_mask_loadu_pd(Batch<T>(fill), static_cast<__mmask8>((1u << count) - 1), x);
#elif defined(__AVX__)
  const auto bits = 8 - count * static_cast<std::int64_t>(sizeof(T) / 4);
  const __m256i mask = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(detail::first_lanes + bits));
  if constexpr (std::is_same_v<T, float>)
    return _mm256_blendv_ps(Batch<T>(fill), _mm256_maskload_ps(x, mask), _mm256_castsi256_ps(mask));
  else
    return _mm256_blendv_pd(Batch<T>(fill), _mm256_maskload_pd(x, mask), _mm256_castsi256_pd(mask));
#else
  alignas(64) T buffer[lanes<T>];
  for (std::int64_t i = 0; i < lanes<T>; ++i) buffer[i] = i < count ? x[i] : fill;
  return Batch<T>::load_aligned(buffer);
#endif
}

/// Stores the first `count` lanes (0 < count < lanes) and writes nothing past them.
template <class T>
inline void store_partial(T* y, const Batch<T>& v, std::int64_t count) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>)
    _mm512_mask_storeu_ps(y, static_cast<__mmask16>((1u << count) - 1), v);
  else
    _mm512_mask_storeu_pd(y, static_cast<__mmask8>((1u << count) - 1), v);
#else
  // Copies of fixed sizes: a masked store takes dozens of cycles on some machines.
  alignas(64) T buffer[lanes<T>];
  v.store_aligned(buffer);
  std::int64_t i = 0;
  if constexpr (lanes<T> >= 8) {
    if (count & 4) std::memcpy(y, buffer, 4 * sizeof(T)), i = 4;
  }
  if constexpr (lanes<T> >= 4) {
    if (count & 2) std::memcpy(y + i, buffer + i, 2 * sizeof(T)), i += 2;
  }
  if (count & 1) y[i] = buffer[i];
#endif
}

/// During its lifetime, if enabled, denormal results on this thread are flushed to 0, since arithmetic with
/// denormals is a hundred times slower. For sums in which they are negligible.
class FlushToZero {
 public:
#if defined(__SSE2__)
  explicit FlushToZero(bool wanted) : before_(_mm_getcsr()) {
    if (wanted) _mm_setcsr(before_ | 0x8000u);
  }
  ~FlushToZero() { _mm_setcsr(before_); }

 private:
  const unsigned before_;
#else
  explicit FlushToZero(bool) {}
  ~FlushToZero() {}
#endif
  FlushToZero(const FlushToZero&) = delete;
  FlushToZero& operator=(const FlushToZero&) = delete;
};

namespace detail {
/// Reduces the lanes with an operation that has an overload for each register width.
template <class T, class Operation>
inline T fold(const Batch<T>& v, Operation operation) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) {
    const __m256 half = operation(_mm512_castps512_ps256(v),
                                  _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1)));
    __m128 quarter = operation(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = operation(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(operation(quarter, _mm_shuffle_ps(quarter, quarter, 1)));
  } else {
    const __m256d half = operation(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    const __m128d quarter = operation(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
    return _mm_cvtsd_f64(operation(quarter, _mm_unpackhi_pd(quarter, quarter)));
  }
#elif defined(__AVX__)
  if constexpr (std::is_same_v<T, float>) {
    __m128 half = operation(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = operation(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(operation(half, _mm_shuffle_ps(half, half, 1)));
  } else {
    const __m128d half = operation(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(operation(half, _mm_unpackhi_pd(half, half)));
  }
#else
  alignas(64) T buffer[lanes<T>];
  v.store_aligned(buffer);
  for (std::int64_t width = lanes<T> / 2; width > 0; width /= 2)
    for (std::int64_t i = 0; i < width; ++i) buffer[i] = operation(buffer[i], buffer[i + width]);
  return buffer[0];
#endif
}

struct Add {
  float operator()(float a, float b) const { return a + b; }
  double operator()(double a, double b) const { return a + b; }
#if defined(__AVX__)
  __m128 operator()(__m128 a, __m128 b) const { return _mm_add_ps(a, b); }
  __m128d operator()(__m128d a, __m128d b) const { return _mm_add_pd(a, b); }
  __m256 operator()(__m256 a, __m256 b) const { return _mm256_add_ps(a, b); }
  __m256d operator()(__m256d a, __m256d b) const { return _mm256_add_pd(a, b); }
#endif
};
struct Max {
  float operator()(float a, float b) const { return a > b ? a : b; }
  double operator()(double a, double b) const { return a > b ? a : b; }
#if defined(__AVX__)
  __m128 operator()(__m128 a, __m128 b) const { return _mm_max_ps(a, b); }
  __m128d operator()(__m128d a, __m128d b) const { return _mm_max_pd(a, b); }
  __m256 operator()(__m256 a, __m256 b) const { return _mm256_max_ps(a, b); }
  __m256d operator()(__m256d a, __m256d b) const { return _mm256_max_pd(a, b); }
#endif
};
}  // namespace detail

/// The sum of the lanes, in a fixed order.
template <class T>
inline T sum_lanes(const Batch<T>& v) {
  return detail::fold(v, detail::Add{});
}
/// The largest lane of a register without NaN.
template <class T>
inline T max_lanes(const Batch<T>& v) {
  return detail::fold(v, detail::Max{});
}

/// a > b ? a : b, so the result is b if either is NaN. max_of(x, acc) ignores NaN in x; in max_of(acc, x) the
/// last one passes.
template <class T>
inline Batch<T> max_of(const Batch<T>& a, const Batch<T>& b) {
  return xsimd::max(a, b);
}
template <class T>
inline Batch<T> min_of(const Batch<T>& a, const Batch<T>& b) {
  return xsimd::min(a, b);
}
using xsimd::select;  // select(condition, yes, no)

namespace detail {
template <class T>
using Format = retort::lanes::Series<T>;
template <class T>
inline constexpr T log2_e = static_cast<T>(1.44269504088896340735992468100189214);

/// v·2^n for the integer n in the low bits of `shifted`, to which twice the exponent's bias is added.
template <class T>
inline Batch<T> times_power_of_2(const Batch<T>& v, [[maybe_unused]] const Batch<T>& n,
                                 [[maybe_unused]] const Batch<T>& shifted) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>)
    return _mm512_scalef_ps(v, n);
  else
    return _mm512_scalef_pd(v, n);
#else
  // In two factors, both in the normal range.
  using Bits = xsimd::batch<typename Format<T>::Bits>;
  constexpr int fraction_bits = Format<T>::fraction_bits;
  const Bits bits = xsimd::bitwise_cast<Bits>(shifted);
  const Bits half = bits >> 1;
  return v * xsimd::bitwise_cast<Batch<T>>(half << fraction_bits) *
         xsimd::bitwise_cast<Batch<T>>((bits - half) << fraction_bits);
#endif
}

/// Each x[k] = e^x[k] for x in their range.
template <class T, std::size_t K>
inline void exp_within(std::array<Batch<T>, K>& x) {
  using F = Format<T>;
  const Batch<T> magic(static_cast<T>(typename F::Bits{3} << (F::fraction_bits - 1)) + T{2 * F::bias});
  const Batch<T> to_exponent(log2_e<T>), high(-F::ln2_high), low(-F::ln2_low);
  std::array<Batch<T>, K> shifted, n, p;
  for (std::size_t k = 0; k < K; ++k) shifted[k] = fma<T>(x[k], to_exponent, magic);  // rounds
  for (std::size_t k = 0; k < K; ++k) n[k] = shifted[k] - magic;
  for (std::size_t k = 0; k < K; ++k) x[k] = fma<T>(n[k], high, x[k]);
  for (std::size_t k = 0; k < K; ++k) x[k] = fma<T>(n[k], low, x[k]);
  for (std::size_t k = 0; k < K; ++k) p[k] = Batch<T>(F::exp_series.back());
  for (std::size_t i = F::exp_series.size() - 1; i-- > 0;)
    for (std::size_t k = 0; k < K; ++k) p[k] = fma<T>(p[k], x[k], Batch<T>(F::exp_series[i]));
  for (std::size_t k = 0; k < K; ++k) x[k] = times_power_of_2<T>(p[k], n[k], shifted[k]);
}
}  // namespace detail

/// Each x[k] = e^x[k] within about 1 ulp, including denormal results: 0 at -infinity, infinity on overflow,
/// NaN for NaN. Several registers are interleaved to fill the processor's pipelines.
template <class T, std::size_t K>
inline void exp_each(std::array<Batch<T>, K>& x) {
  using F = detail::Format<T>;
  for (Batch<T>& v : x) v = max_of<T>(Batch<T>(F::exp_low), min_of<T>(Batch<T>(F::exp_high), v));
  detail::exp_within<T>(x);
}
/// As above, for x <= 0.
template <class T, std::size_t K>
inline void exp_each_below_0(std::array<Batch<T>, K>& x) {
  for (Batch<T>& v : x) v = max_of<T>(Batch<T>(detail::Format<T>::exp_low), v);
  detail::exp_within<T>(x);
}

/// e^(factor·x) = 2^y where y = factor·x/ln 2 is rounded to T. If y exceeds 60, the result is some number
/// above 1e18.
template <class T>
class ScaledExp {
 public:
  explicit ScaledExp(double factor)
      : to_exponent_(static_cast<T>(factor * detail::log2_e<double>)),
        low_(static_cast<T>(static_cast<double>(detail::Format<T>::exp_low) / factor)),
        high_(static_cast<T>(60 / detail::log2_e<double> / factor)) {}

  template <std::size_t K>
  void operator()(std::array<Batch<T>, K>& x) const {
    using F = detail::Format<T>;
    std::array<Batch<T>, K> p;
#if defined(__AVX512DQ__)
    if constexpr (std::is_same_v<T, float>) {
      constexpr int below = 1;  // y - floor(y)
      for (std::size_t k = 0; k < K; ++k) x[k] = x[k] * to_exponent_;
      std::array<Batch<T>, K> rest;
      for (std::size_t k = 0; k < K; ++k) rest[k] = _mm512_reduce_ps(x[k], below);
      evaluate(F::exp2_above_floor, T{1}, rest, p);
      for (std::size_t k = 0; k < K; ++k) x[k] = _mm512_scalef_ps(p[k], x[k]);  // times 2^floor(y)
      return;
    }
#endif
    // Two factors, 2^(n + room) and 2^(rest - room): both are normal numbers.
    using Bits = xsimd::batch<typename F::Bits>;
    constexpr int room = 64;
    constexpr T small = T{1} / static_cast<T>(std::uint64_t{1} << 63) / 2;
    const Batch<T> magic(static_cast<T>(typename F::Bits{3} << (F::fraction_bits - 1)) + T{F::bias + room});
    std::array<Batch<T>, K> shifted;
    for (Batch<T>& v : x) v = max_of<T>(low_, min_of<T>(high_, v));
    for (std::size_t k = 0; k < K; ++k) shifted[k] = fma<T>(x[k], to_exponent_, magic);  // rounds
    for (std::size_t k = 0; k < K; ++k) x[k] = fma<T>(x[k], to_exponent_, magic - shifted[k]);
    evaluate(F::exp2_series, small, x, p);
    for (std::size_t k = 0; k < K; ++k)
      x[k] = p[k] * xsimd::bitwise_cast<Batch<T>>(xsimd::bitwise_cast<Bits>(shifted[k]) << F::fraction_bits);
  }

 private:
  /// p = scale·series(x)
  template <std::size_t K, std::size_t terms>
  static void evaluate(const std::array<T, terms>& series, T scale, const std::array<Batch<T>, K>& x,
                       std::array<Batch<T>, K>& p) {
    p.fill(Batch<T>(scale * series[terms - 1]));
    for (std::size_t i = terms - 1; i-- > 0;)
      for (std::size_t k = 0; k < K; ++k) p[k] = fma<T>(p[k], x[k], Batch<T>(scale * series[i]));
  }
  Batch<T> to_exponent_, low_, high_;
};

template <class T>
inline Batch<T> exp(const Batch<T>& x) {
  std::array<Batch<T>, 1> v{x};
  exp_each<T>(v);
  return v[0];
}

namespace detail {
/// x[k] = ln x[k] + (unit - Format::log_unit)·ln 2 for positive normal numbers.
template <class T, std::size_t K>
inline void log_of_normal(std::array<Batch<T>, K>& x, const std::array<Batch<T>, K>& unit) {
  using F = Format<T>;
  using U = typename F::Bits;
  using Bits = xsimd::batch<U>;
  constexpr U fraction = (U{1} << F::fraction_bits) - 1;
  constexpr U root_half = std::bit_cast<U>(static_cast<T>(0.70710678118654752440));
  constexpr U one = F::bias << F::fraction_bits;
  constexpr U units = (F::bias + F::fraction_bits)
                      << F::fraction_bits;  // 2^fraction_bits: its low bits count ones
  std::array<Batch<T>, K> e, p, z;
  for (std::size_t k = 0; k < K; ++k) {
    // x = 2^e·(1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); x holds f from here.
    const Bits shifted = xsimd::bitwise_cast<Bits>(x[k]) + Bits(one - root_half);
    x[k] = xsimd::bitwise_cast<Batch<T>>((shifted & Bits(fraction)) + Bits(root_half)) - Batch<T>(T{1});
    e[k] = xsimd::bitwise_cast<Batch<T>>((shifted >> F::fraction_bits) | Bits(units)) - unit[k];
  }
  if constexpr (std::is_same_v<T, float>) {
    // ln(1 + f) = f - f²/2 + f³·p(f)
    for (std::size_t k = 0; k < K; ++k) z[k] = x[k] * x[k];
    for (std::size_t k = 0; k < K; ++k) p[k] = Batch<T>(F::log_series.back());
    for (std::size_t i = F::log_series.size() - 1; i-- > 0;)
      for (std::size_t k = 0; k < K; ++k) p[k] = fma<T>(p[k], x[k], Batch<T>(F::log_series[i]));
    for (std::size_t k = 0; k < K; ++k) p[k] = p[k] * x[k];
    for (std::size_t k = 0; k < K; ++k) p[k] = fma<T>(p[k], z[k], e[k] * Batch<T>(F::ln2_low));
    for (std::size_t k = 0; k < K; ++k) p[k] = fma<T>(z[k], Batch<T>(T(-0.5)), p[k]);
  } else {
    using retort::lanes::artanh_terms;
    // ln(1 + f) = 2·artanh(s) with s = f/(2 + f); written as f - f²/2 + s·(f²/2 + s²·p(s²)), which keeps f
    // exact.
    std::array<Batch<T>, K> s;
    for (std::size_t k = 0; k < K; ++k) s[k] = x[k] / (x[k] + Batch<T>(T{2}));
    for (std::size_t k = 0; k < K; ++k) z[k] = s[k] * s[k];
    for (std::size_t k = 0; k < K; ++k) p[k] = Batch<T>(T{2} / T{2 * artanh_terms + 1});
    for (int i = artanh_terms - 1; i > 0; --i)
      for (std::size_t k = 0; k < K; ++k)
        p[k] = fma<T>(p[k], z[k], Batch<T>(T{2} / static_cast<T>(2 * i + 1)));
    for (std::size_t k = 0; k < K; ++k) {
      const Batch<T> half = x[k] * Batch<T>(T(0.5));
      p[k] = fma<T>(s[k], fma<T>(half, x[k], z[k] * p[k]), e[k] * Batch<T>(F::ln2_low));
      p[k] = fma<T>(-half, x[k], p[k]);
    }
  }
  for (std::size_t k = 0; k < K; ++k) x[k] = fma<T>(e[k], Batch<T>(F::ln2_high), p[k] + x[k]);
}

/// ln x for any x.
template <class T>
inline Batch<T> log_of_any(const Batch<T>& x) {
  using F = Format<T>;
  const Batch<T> zero(T{0}), endless(infinity<T>);
  const Mask<T> tiny = x < Batch<T>(std::numeric_limits<T>::min());
  std::array<Batch<T>, 1> y{select(tiny, x * Batch<T>(F::log_scale), x)};
  log_of_normal<T, 1>(y,
                      {select(tiny, Batch<T>(F::log_unit + F::log_scale_exponent), Batch<T>(F::log_unit))});
  const Batch<T> nan(std::numeric_limits<T>::quiet_NaN());
  const Batch<T> edge = select(x == zero, -endless, select(x == endless, endless, nan));
  return select((x > zero) & (x < endless), y[0], edge);
}
}  // namespace detail

/// Each x[k] = ln x[k] within about 1 ulp, including denormal x: -infinity at 0, infinity at infinity, NaN
/// for negative x and NaN.
template <class T, std::size_t K>
inline void log_each(std::array<Batch<T>, K>& x) {
  const Batch<T> least(std::numeric_limits<T>::min()), greatest(std::numeric_limits<T>::max());
  Mask<T> normal = (x[0] >= least) & (x[0] <= greatest);
  for (std::size_t k = 1; k < K; ++k) normal = normal & (x[k] >= least) & (x[k] <= greatest);
  if (xsimd::all(normal)) {
    std::array<Batch<T>, K> unit;
    unit.fill(Batch<T>(detail::Format<T>::log_unit));
    detail::log_of_normal<T, K>(x, unit);
  } else {
    for (std::size_t k = 0; k < K; ++k) x[k] = detail::log_of_any<T>(x[k]);
  }
}

template <class T>
inline Batch<T> log(const Batch<T>& x) {
  std::array<Batch<T>, 1> v{x};
  log_each<T>(v);
  return v[0];
}

}  // namespace retort::kernels
