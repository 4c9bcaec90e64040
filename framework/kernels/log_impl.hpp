// Logarithms and inverses that are faster than those of simd_impl.hpp but restricted to normal arguments.
#pragma once

#include <array>
#include <limits>
#include <type_traits>

#include "retort/framework/kernels/simd_impl.hpp"

namespace retort::kernels {

/// 1/x within about 1 ulp, for normal x whose inverse is normal.
template <class T>
inline Batch<T> inverse_of(const Batch<T>& x) {
#if defined(__AVX__)
  if constexpr (std::is_same_v<T, float>) {
#if defined(__AVX512F__)
    const Batch<T> guess = _mm512_rcp14_ps(x);
#else
    const Batch<T> guess = _mm256_rcp_ps(x);
#endif
    return fma<T>(guess, fma<T>(-x, guess, Batch<T>(T{1})), guess);
  }
#endif
  return Batch<T>(T{1}) / x;
}

/// Each x[k] = ln x[k] within about 2 ulp of max(|ln x[k]|, 1), for finite normal x. Below the least normal
/// number, and for NaN, the result is finite but meaningless.
template <class T, std::size_t K>
inline void log_each_above_least(std::array<Batch<T>, K>& x) {
  for (Batch<T>& v : x) v = max_of<T>(v, Batch<T>(std::numeric_limits<T>::min()));
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) {
    // x = 2^e·c·(1 + r), where c is the centre of one of sixteen intervals of [1, 2), except 1 and 2 for the
    // outermost.
    alignas(64) static constexpr float inverses[16] = {1.0f,         0.914285719f, 0.864864886f, 0.820512831f,
                                                       0.780487776f, 0.744186044f, 0.711111128f, 0.680851042f,
                                                       0.653061211f, 0.627451003f, 0.603773594f, 0.581818163f,
                                                       0.561403513f, 0.542372882f, 0.524590135f, 0.5f};
    alignas(64) static constexpr float logs[16] = {0.0f,         0.0896121562f, 0.145181984f, 0.19782573f,
                                                   0.247836202f, 0.295464218f,  0.340926558f, 0.384411722f,
                                                   0.426084429f, 0.466089696f,  0.504556f,    0.541597307f,
                                                   0.577315331f, 0.611801565f,  0.645138025f, 0.693147182f};
    const Batch<T> of_inverses = load(inverses), of_logs = load(logs), ln2(0.693147182f);
    std::array<Batch<T>, K> base, r, p;
    for (std::size_t k = 0; k < K; ++k) {
      // permutexvar uses the four lowest bits of each index: the first four of the fraction.
      const __m512i index = _mm512_srli_epi32(_mm512_castps_si512(x[k]), 19);
      const Batch<T> exponent = _mm512_getexp_ps(x[k]),
                     fraction = _mm512_getmant_ps(x[k], _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
      r[k] = fma<T>(fraction, Batch<T>(_mm512_permutexvar_ps(index, of_inverses)), Batch<T>(T{-1}));
      base[k] = fma<T>(exponent, ln2, Batch<T>(_mm512_permutexvar_ps(index, of_logs)));
    }
    // ln(1 + r) = r + r²·p(r) on [-1/32, 1/16], fitted: within 2^-27.
    for (std::size_t k = 0; k < K; ++k) p[k] = fma<T>(Batch<T>(0.188939662f), r[k], Batch<T>(-0.250053401f));
    for (std::size_t k = 0; k < K; ++k) p[k] = fma<T>(p[k], r[k], Batch<T>(0.333342704f));
    for (std::size_t k = 0; k < K; ++k) p[k] = fma<T>(p[k], r[k], Batch<T>(-0.5f));
    for (std::size_t k = 0; k < K; ++k) x[k] = base[k] + fma<T>(r[k] * r[k], p[k], r[k]);
    return;
  }
#endif
  std::array<Batch<T>, K> unit;
  unit.fill(Batch<T>(detail::Format<T>::log_unit));
  detail::log_of_normal<T, K>(x, unit);
}

}  // namespace retort::kernels
