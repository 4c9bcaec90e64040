// The bit patterns of float and double and the series of their exp, log, erf and erfc, which the registers of
// register.hpp and of simd_impl.hpp share.
#pragma once

#include <array>
#include <cstdint>

namespace retort::lanes {

/// The number of terms of 2·artanh(s)/s in s², of which the logarithm of a double is made.
inline constexpr int artanh_terms = 10;

/// Bit patterns, and the series of exp, log, erf and erfc for the precision of T.
template <class T>
struct Series;
template <>
struct Series<float> {
  using Bits = std::uint32_t;
  using Integer = std::int32_t;
  using Wide = double;
  using WideBits = std::uint64_t;
  static constexpr int fraction_bits = 23;
  static constexpr Bits bias = 127;
  // ln 2 in two parts; a small integer times the first is exact.
  static constexpr float ln2_high = 0.693359375f, ln2_low = -0.00021219444005469057f;
  static constexpr float exp_low = -104.0f, exp_high = 89.0f;  // 0 and infinity beyond
  static constexpr float log_scale = 33554432.0f;  // 2^25 scales any denormal into the normal range
  static constexpr float log_scale_exponent = 25, log_unit = 8388608.0f + 127;
  // exp(r) on |r| <= ln 2 / 2: from r² on interpolated at the Chebyshev nodes, within 2^-26.6 of exp(r).
  static constexpr std::array<float, 7> exp_series{1.0f,
                                                   1.0f,
                                                   0.5f,
                                                   0.16666576989698775f,
                                                   0.041666554617204574f,
                                                   0.008363179052722578f,
                                                   0.0013926183587713494f};
  // 2^f on |f| <= 1/2 and on 0 <= f <= 1: within 2^-23.1 and 2^-23.3, relatively.
  static constexpr std::array<float, 6> exp2_series{1.0f,         0.693147f,    0.24022242f,
                                                    0.055507336f, 0.009671513f, 0.0013264727f};
  static constexpr std::array<float, 6> exp2_above_floor{1.0f,         0.6931513f,  0.24016444f,
                                                         0.055799913f, 0.00901703f, 0.0018671303f};
  // (ln(1 + f) - f + f²/2) / f³ on sqrt(1/2) <= 1 + f <= sqrt(2), likewise: within 2^-28 of ln(1 + f).
  static constexpr std::array<float, 9> log_series{
      0.33333331180030046f,  -0.24999996957950882f, 0.200007157488921f,
      -0.16667802319501254f, 0.1424905764569748f,   -0.12425687331451106f,
      0.1168541992348674f,   -0.11479733846637635f, 0.06971611471451178f};
  // erf(x)/x in x² on |x| <= 1, and (x + centre)·exp(x²)·erfc(x) in (x - centre)/(x + centre) on
  // 0 <= x <= erfc_end: interpolated at the Chebyshev nodes. At the end, erfc is 0 within the precision of T.
  static constexpr float erfc_centre = 3, erfc_end = 10.5f;
  static constexpr std::array<float, 7> erf_series{1.12837911f,    -0.37612626f,   0.112835944f,
                                                   -0.0268542115f, 0.00518908724f, -0.00080168643f,
                                                   7.87587487e-05f};
  static constexpr std::array<float, 10> erfc_series{
      1.07400692f,    -0.88339448f,    0.590228438f,   -0.310466528f,   0.119527079f,
      -0.0268374253f, -0.00121720927f, 0.00307963206f, -0.00049714226f, -0.000333150354f};
};
template <>
struct Series<double> {
  using Bits = std::uint64_t;
  using Integer = std::int64_t;
  using Wide = double;
  using WideBits = std::uint64_t;
  static constexpr int fraction_bits = 52;
  static constexpr Bits bias = 1023;
  static constexpr double ln2_high = 0.6931471803691238, ln2_low = 1.9082149292705877e-10;
  static constexpr double exp_low = -746.0, exp_high = 710.0;
  static constexpr double log_scale = 18014398509481984.0;  // 2^54
  static constexpr double log_scale_exponent = 54, log_unit = 4503599627370496.0 + 1023;
  static constexpr std::array<double, 12> exp_series{1.0,
                                                     1.0,
                                                     0.5000000000000001,
                                                     0.16666666666666669,
                                                     0.04166666666662413,
                                                     0.008333333333330062,
                                                     0.0013888888917213717,
                                                     0.00019841269863053618,
                                                     2.4801521295954376e-05,
                                                     2.7557268459997064e-06,
                                                     2.7620088445409746e-07,
                                                     2.510038549551032e-08};  // 2^-55.7
  static constexpr auto exp2_series = [] {
    auto terms = exp_series;
    double power = 1;
    for (double& term : terms) {
      term *= power;
      power *= 0.69314718055994530942;
    }
    return terms;
  }();
  static constexpr double erfc_centre = 3.5, erfc_end = 28;
  static constexpr std::array<double, 13> erf_series{
      1.1283791670955126,     -0.3761263890318375,     0.11283791670954879,    -0.026866170645076792,
      0.0052239776248180145,  -0.000854832698083379,   0.0001205533111164271,  -1.4925595266831182e-05,
      1.6461000484121368e-06, -1.6350312701054695e-07, 1.4659775274047436e-08, -1.1372848856791674e-09,
      5.957176147748911e-11};
  static constexpr std::array<double, 24> erfc_series{
      1.08705558926226,       -0.937799724567112,     0.6941136466346434,      -0.43525602671688457,
      0.22573862164747213,    -0.09231870663869839,   0.02651861988023106,     -0.003177050338577159,
      -0.0013053546740778102, 0.0007145316463713254,  -4.206229681561158e-05,  -7.477687471203629e-05,
      1.864782101368625e-05,  7.243458456215626e-06,  -3.3940079961439963e-06, -7.950286830836428e-07,
      5.546024835328971e-07,  1.1485855142125013e-07, -8.877839282184564e-08,  -2.1706956535202552e-08,
      1.2919446354870902e-08, 4.209342524632903e-09,  -1.236623882191126e-09,  -5.274537290660935e-10};
};

}  // namespace retort::lanes
