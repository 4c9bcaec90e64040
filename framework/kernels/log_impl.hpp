// Logarithms that are faster than those of simd_impl.hpp but restricted to normal arguments.
#pragma once

#include <array>
#include <limits>
#include <type_traits>

#include "retort/framework/kernels/simd_impl.hpp"

namespace retort::kernels {

#if defined(__AVX2__)
namespace detail {
/// x = 2^e·c·(1 + r), where c is near the centre of one of as many intervals of [1, 2) as a register has
/// lanes. ln(1 + r) = r·(1 + …), fitted within 2^-24.5. The first logarithm cancels the series at x = 1,
/// so that ln 1 is exactly 0.
struct LogSeries {
#if defined(__AVX512F__)
  static constexpr std::array<float, 16> inverses{0.96875f,     0.914285719f, 0.864864886f, 0.820512831f,
                                                  0.780487776f, 0.744186044f, 0.711111128f, 0.680851042f,
                                                  0.653061211f, 0.627451003f, 0.603773594f, 0.581818163f,
                                                  0.561403513f, 0.542372882f, 0.524590135f, 0.507936537f};
  static constexpr std::array<float, 16> logs{0.0317486562f, 0.0896121562f, 0.145181984f, 0.19782573f,
                                              0.247836202f,  0.295464218f,  0.340926558f, 0.384411722f,
                                              0.426084429f,  0.466089696f,  0.504556f,    0.541597307f,
                                              0.577315331f,  0.611801565f,  0.645138025f, 0.677398741f};
  static constexpr std::array<float, 3> terms{1.0f, -0.500194013f, 0.333803087f};
  static constexpr float ln2 = 0.693147182f;
#else
  static constexpr std::array<float, 8> inverses{0.9375f,      0.842105269f, 0.761904776f, 0.695652187f,
                                                 0.639999986f, 0.592592597f, 0.551724136f, 0.516129017f};
  static constexpr std::array<float, 8> logs{0.0645385012f, 0.171850249f, 0.271933705f, 0.362905473f,
                                             0.446287125f,  0.523248136f, 0.594707131f, 0.66139853f};
  static constexpr std::array<float, 4> terms{1.0f, -0.499995261f, 0.333970398f, -0.252792627f};
  static constexpr float ln2 = 0.693147182f / (1 << 23);
#endif
};

/// The exponent of normal positive numbers (times 2^23 with AVX2), the fraction in [1, 2), and the interval
/// in which it lies.
struct Parts {
#if defined(__AVX512F__)
  explicit Parts(const Batch<float>& x)
      : exponent(_mm512_getexp_ps(x)),
        fraction(_mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src)),
        interval(_mm512_srli_epi32(_mm512_castps_si512(x), 19)) {}
  // The permutation reads only the lowest bits of each index.
  Batch<float> look_up(const Batch<float>& table) const { return _mm512_permutexvar_ps(interval, table); }

  Batch<float> exponent, fraction;
  __m512i interval;
#else
  explicit Parts(const Batch<float>& x) {
    const __m256i bits = _mm256_castps_si256(x), one = _mm256_set1_epi32(0x3f800000),
                  fractions = _mm256_set1_epi32(0x007fffff);
    const __m256i power = _mm256_sub_epi32(_mm256_andnot_si256(fractions, bits), one);
    exponent = _mm256_cvtepi32_ps(power);
    fraction = _mm256_castsi256_ps(_mm256_sub_epi32(bits, power));
    interval = _mm256_srli_epi32(bits, 20);
  }
  Batch<float> look_up(const Batch<float>& table) const { return _mm256_permutevar8x32_ps(table, interval); }

  Batch<float> exponent, fraction;
  __m256i interval;
#endif
};
}  // namespace detail
#endif

/// Each x[k] = ln x[k] within about 2 ulp of max(|ln x[k]|, 1), for finite normal x. Below the least normal
/// number, and for NaN, the result is meaningless.
template <class T, std::size_t K>
inline void log_each_above_least(std::array<Batch<T>, K>& x) {
#if defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) {
    using Series = detail::LogSeries;
    const Batch<T> inverses = load(Series::inverses.data()), logs = load(Series::logs.data()),
                   ln2(Series::ln2);
    constexpr std::size_t last = Series::terms.size() - 1;
    std::array<Batch<T>, K> base, r, p;
    for (std::size_t k = 0; k < K; ++k) {
      const detail::Parts parts(x[k]);
      r[k] = fma<T>(parts.fraction, parts.look_up(inverses), Batch<T>(T{-1}));
      base[k] = fma<T>(parts.exponent, ln2, parts.look_up(logs));
    }
    for (std::size_t k = 0; k < K; ++k) p[k] = Batch<T>(Series::terms[last]);
    for (std::size_t i = last; i-- > 0;)
      for (std::size_t k = 0; k < K; ++k) p[k] = fma<T>(p[k], r[k], Batch<T>(Series::terms[i]));
    for (std::size_t k = 0; k < K; ++k) x[k] = fma<T>(p[k], r[k], base[k]);
    return;
  }
#endif
  std::array<Batch<T>, K> unit;
  unit.fill(Batch<T>(detail::Format<T>::log_unit));
  detail::log_of_normal<T, K>(x, unit);
}

}  // namespace retort::kernels
