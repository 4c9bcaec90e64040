// A register of float or double for any instruction set, and its mathematical functions, for
// <retort/framework/fused.hpp> in the library and in users' programs. It uses the compiler's vector types, so
// that it is as wide as the flags of the translation unit or a function's target attribute allow.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include "retort/framework/kernels/series.hpp"

#ifdef __FAST_MATH__
#error "retort/framework/fused.hpp needs IEEE arithmetic: compile this file without -ffast-math"
#endif

// One namespace per instruction set, so that objects compiled for different ones can be linked together.
namespace retort::lanes {
#if defined(__AVX512F__)
inline namespace avx512 {
inline constexpr int native_bytes = 64;
#elif defined(__AVX2__) && defined(__FMA__)
inline namespace avx2 {
inline constexpr int native_bytes = 32;
#else
inline namespace baseline {
inline constexpr int native_bytes = 16;
#endif

/// Compound assignment for types with + - * /.
template <class D>
struct Arithmetic {
  friend D& operator+=(D& a, const D& b) { return a = a + b; }
  friend D& operator-=(D& a, const D& b) { return a = a - b; }
  friend D& operator*=(D& a, const D& b) { return a = a * b; }
  friend D& operator/=(D& a, const D& b) { return a = a / b; }
  friend D operator+(const D& a) { return a; }
};

/// `bytes` of lanes of T. Numbers convert to it; comparisons give a Register::Condition. The copy constructor
/// prevents passing in registers, for which functions of different targets have different conventions.
template <class T, int bytes>
class Register : public Arithmetic<Register<T, bytes>> {
  using S = Series<T>;
  using Bits = typename S::Bits;
  typedef T Vector __attribute__((vector_size(bytes)));
  typedef typename S::Integer Integers __attribute__((vector_size(bytes)));
  typedef Bits BitVector __attribute__((vector_size(bytes)));

 public:
  static constexpr int size = bytes / static_cast<int>(sizeof(T));

  /// A boolean per lane.
  class Condition {
   public:
    Condition() : lanes{} {}
    explicit Condition(const Integers& lanes_) : lanes(lanes_) {}
    Condition(const Condition& other) : lanes(other.lanes) {}
    Condition& operator=(const Condition& other) {
      lanes = other.lanes;
      return *this;
    }
    friend Condition operator&(const Condition& a, const Condition& b) {
      return Condition(a.lanes & b.lanes);
    }
    friend Condition operator|(const Condition& a, const Condition& b) {
      return Condition(a.lanes | b.lanes);
    }
    friend Condition operator!(const Condition& a) { return Condition(~a.lanes); }
    Integers lanes;
  };

  Register() : v{} {}
  template <class N>
    requires std::is_arithmetic_v<N>
  Register(N number) : v(static_cast<T>(number) - Vector{}) {}  // NOLINT: implicit by design
  Register(const Register& other) : v(other.v) {}
  Register& operator=(const Register& other) {
    v = other.v;
    return *this;
  }
  static Register load(const T* x) {
    Register r;
    __builtin_memcpy(&r.v, x, bytes);
    return r;
  }
  void store(T* y) const { __builtin_memcpy(y, &v, bytes); }

  friend Register operator+(const Register& a, const Register& b) { return Register(a.v + b.v); }
  friend Register operator-(const Register& a, const Register& b) { return Register(a.v - b.v); }
  friend Register operator*(const Register& a, const Register& b) { return Register(a.v * b.v); }
  friend Register operator/(const Register& a, const Register& b) { return Register(a.v / b.v); }
  friend Register operator-(const Register& a) { return Register(-a.v); }
  friend Condition operator<(const Register& a, const Register& b) { return Condition(a.v < b.v); }
  friend Condition operator<=(const Register& a, const Register& b) { return Condition(a.v <= b.v); }
  friend Condition operator>(const Register& a, const Register& b) { return Condition(a.v > b.v); }
  friend Condition operator>=(const Register& a, const Register& b) { return Condition(a.v >= b.v); }
  friend Condition operator==(const Register& a, const Register& b) { return Condition(a.v == b.v); }
  friend Condition operator!=(const Register& a, const Register& b) { return Condition(a.v != b.v); }

  /// a where the condition is true, otherwise b.
  friend Register where(const Condition& c, const Register& a, const Register& b) {
    return Register(c.lanes ? a.v : b.v);
  }

  friend Register abs(const Register& x) { return Register((Vector)((BitVector)x.v & ~sign_bit)); }
  friend Register relu(const Register& x) { return where(x < Register(0), Register(0), x); }
  /// The larger and the smaller one; NaN if either is.
  friend Register max(const Register& a, const Register& b) { return where(a > b, a, where(a == a, b, a)); }
  friend Register min(const Register& a, const Register& b) { return where(a < b, a, where(a == a, b, a)); }

  friend Register sqrt(const Register& x) {
    Register y;
    square_root(x.v, y.v);
    return y;
  }

  /// e^x within about 1 ulp, including denormal results.
  friend Register exp(const Register& x) {
    const Reduced at(x.v);
    const Vector p = polynomial(S::exp_series, at.r).v;
    // Multiplies by 2^n in two factors, both in the normal range.
    const BitVector all = (BitVector)at.shifted, half = all >> 1;
    return Register(p * (Vector)(half << S::fraction_bits) * (Vector)((all - half) << S::fraction_bits));
  }

  /// e^x - 1, accurate for small x.
  friend Register expm1(const Register& x) {
    // 2^n·e^r - 1 = 2·(2^(n-1)·(e^r - 1) + (2^(n-1) - 1/2)): half the scale does not overflow before the
    // result does.
    const Vector bounded = x.v < T(-40) ? T(-40) - Vector{} : x.v;
    const Reduced at(bounded);
    const Vector p = exponential_minus_1(at.r).v;
    const Vector half_scale = (Vector)(((BitVector)at.shifted - (S::bias + 1)) << S::fraction_bits);
    const Vector wide = T(2) * (half_scale * p + (half_scale - T(0.5)));
    const Register y(at.n == T(0) ? p : wide);
    return y.signed_like(x);
  }

  /// ln x within about 1 ulp, including denormal x.
  friend Register log(const Register& x) {
    const Integers tiny = x.v < std::numeric_limits<T>::min();
    const Vector normal = tiny ? x.v * S::log_scale : x.v;
    // x = 2^e·(1 + f) with 1 + f in [sqrt(1/2), sqrt(2)).
    constexpr Bits fraction = (Bits{1} << S::fraction_bits) - 1;
    constexpr Bits root_half = std::bit_cast<Bits>(static_cast<T>(0.70710678118654752440));
    constexpr Bits one = S::bias << S::fraction_bits, units = (S::bias + S::fraction_bits)
                                                              << S::fraction_bits;
    const BitVector shifted = (BitVector)normal + (one - root_half);
    const Vector f = (Vector)((shifted & fraction) + root_half) - T(1);
    const Vector e = (Vector)((shifted >> S::fraction_bits) | units) -
                     (tiny ? (S::log_unit + S::log_scale_exponent) - Vector{} : S::log_unit - Vector{});
    Vector p;
    if constexpr (std::is_same_v<T, float>) {
      // ln(1 + f) = f - f²/2 + f³·p(f)
      p = polynomial(S::log_series, f).v;
      const Vector z = f * f;
      p = (p * f) * z + e * S::ln2_low;
      p = z * T(-0.5) + p;
    } else {
      // ln(1 + f) = 2·artanh(s) with s = f/(2 + f), as f - f²/2 + s·(f²/2 + s²·p(s²)), which keeps f exact.
      const Vector s = f / (f + T(2)), z = s * s, half = f * T(0.5);
      p = polynomial(artanh_series, z).v;
      p = s * (half * f + z * p) + e * S::ln2_low;
      p = p - half * f;
    }
    const Register y(e * S::ln2_high + (p + f)), endless(std::numeric_limits<T>::infinity());
    const Register edge =
        where(x == Register(0), -endless, where(x == endless, endless, std::numeric_limits<T>::quiet_NaN()));
    return where((x > Register(0)) & (x < endless), y, edge);
  }

  /// ln(1 + x), accurate for small x.
  friend Register log1p(const Register& x) {
    const Register u = Register(1) + x, lost = x - (u - Register(1));
    const Register y = log(u) + where(u > Register(0), lost / u, 0);
    return where(x < Register(std::numeric_limits<T>::infinity()), y, x + x).signed_like(x);
  }

  friend Register sigmoid(const Register& x) { return Register(1) / (Register(1) + exp(-x)); }

  friend Register tanh(const Register& x) {
    // t = e^(-2|x|) - 1 = 2^n·e^r - 1, where no factor overflows because n <= 0.
    constexpr T magic = static_cast<T>(Bits{3} << (S::fraction_bits - 1)) + T{S::bias};
    Vector r = abs(x).v * T(-2);
    r = r < T(-40) ? T(-40) - Vector{} : r;
    const Vector shifted = r * log2_e + magic, n = shifted - magic;
    r = r - n * S::ln2_high;
    r = r - n * S::ln2_low;
    const Vector scale = (Vector)((BitVector)shifted << S::fraction_bits);
    const Vector t = scale * exponential_minus_1(r).v + (scale - T(1));
    return Register(t / (t + T(2))).signed_like(x);
  }

  /// Within about 1 ulp: 0 keeps its sign, and infinities give NaN.
  friend Register sin(const Register& x) { return wave<0>(x); }
  friend Register cos(const Register& x) { return wave<1>(x); }

  friend Register erf(const Register& x) {
    const Register s = x * x;
    const Register inner = x * polynomial(S::erf_series, s.v);
    Register bell;
    return where(abs(x) < Register(1), inner, (Register(1) - erfc_of_positive(abs(x), bell)).signed_like(x));
  }
  /// 1 - erf(x), accurate where it is small.
  friend Register erfc(const Register& x) {
    Register bell;
    return erfc(x, bell);
  }
  /// As above, and exp(-x²), for its derivative.
  friend Register erfc(const Register& x, Register& bell) {
    const Register y = erfc_of_positive(abs(x), bell);
    return where(x < Register(0), Register(2) - y, y);
  }

  friend Register pow(const Register& x, const Register& y) {
    if constexpr (std::is_same_v<T, float>) {
      return float_power(x, y);
    } else {
      alignas(bytes) T base[size], exponent[size];
      x.store(base);
      y.store(exponent);
      for (int i = 0; i < size; ++i) base[i] = std::pow(base[i], exponent[i]);
      return load(base);
    }
  }
  friend Register pow(const Register& x, double exponent) {
    if (exponent == 0) return 1;
    if (exponent == 1) return x;
    if (exponent == 2) return x * x;
    if (exponent == 3) return x * x * x;
    if (exponent == 4) return (x * x) * (x * x);
    if (exponent == 0.5) return sqrt(x);
    if (exponent == -1) return Register(1) / x;
    return pow(x, Register(exponent));
  }

 private:
  static constexpr Bits sign_bit = Bits{1} << (sizeof(T) * 8 - 1);
  static constexpr T log2_e = static_cast<T>(1.44269504088896340735992468100189214);
  explicit Register(const Vector& lanes_) : v(lanes_) {}
  Register signed_like(const Register& x) const {
    return Register((Vector)(((BitVector)v & ~sign_bit) | ((BitVector)x.v & sign_bit)));
  }

  /// The sum of series[i]·xⁱ.
  template <std::size_t terms>
  static Register polynomial(const std::array<T, terms>& series, const Vector& x) {
    Vector p = series[terms - 1] - Vector{};
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      ((p = p * x + series[terms - 2 - I]), ...);
    }(std::make_index_sequence<terms - 1>());
    return Register(p);
  }
  /// The same sum as the even terms plus x times the odd ones: two short chains instead of a long one.
  template <std::size_t terms>
  static Register halved_polynomial(const std::array<T, terms>& series, const Vector& x) {
    const Vector square = x * x;
    Vector last = series[terms - 1] - Vector{}, other = series[terms - 2] - Vector{};
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      ((I % 2 == 0 ? last = last * square + series[terms - 3 - I]
                   : other = other * square + series[terms - 3 - I]),
       ...);
    }(std::make_index_sequence<terms - 2>());
    return Register(terms % 2 == 0 ? last * x + other : other * x + last);
  }
  /// e^r - 1 for |r| <= ln 2 / 2.
  static Register exponential_minus_1(const Vector& r) {
    constexpr auto series = [] {  // (e^r - 1 - r)/r²
      std::array<T, S::exp_series.size() - 2> tail{};
      for (std::size_t i = 0; i < tail.size(); ++i) tail[i] = S::exp_series[i + 2];
      return tail;
    }();
    return Register((r * r) * polynomial(series, r).v + r);
  }
  /// 2/3, 2/5, …: (2·artanh(s)/s - 2)/s² in s².
  static constexpr auto artanh_series = [] {
    std::array<T, artanh_terms> series{};
    for (int i = 0; i < artanh_terms; ++i) series[i] = T(2) / static_cast<T>(2 * i + 3);
    return series;
  }();

  /// x = n·ln 2 + r; the low bits of `shifted` are n plus twice the bias.
  struct Reduced {
    explicit Reduced(const Vector& x) {
      constexpr T magic = static_cast<T>(Bits{3} << (S::fraction_bits - 1)) + T{2 * S::bias};
      r = x > S::exp_high ? S::exp_high - Vector{} : x;
      r = r < S::exp_low ? S::exp_low - Vector{} : r;
      shifted = r * log2_e + magic;  // rounds
      n = shifted - magic;
      r = r - n * S::ln2_high;
      r = r - n * S::ln2_low;
    }
    Vector r, n, shifted;
  };
  /// a^y for positive normal a, within 2^-30; y·log2 a is computed in double.
  static Register positive_power(const Register& a, const Register& y) {
    typedef T Half __attribute__((vector_size(bytes / 2)));
    typedef typename S::Wide Wide __attribute__((vector_size(bytes)));
    typedef typename S::WideBits WideBits __attribute__((vector_size(bytes)));
    constexpr std::uint64_t one = std::uint64_t{1023} << 52, fraction = (std::uint64_t{1} << 52) - 1;
    constexpr std::uint64_t root_half = std::bit_cast<std::uint64_t>(0.70710678118654752440);
    constexpr double magic = 6755399441055744.0 + 1023;  // 3·2^51 and the exponent's bias
    Half base[2], exponent[2], result[2];
    __builtin_memcpy(base, &a.v, bytes);
    __builtin_memcpy(exponent, &y.v, bytes);
    for (int i = 0; i < 2; ++i) {
      // a = 2^e·(1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); ln(1 + f) = 2·artanh(s) with s = f/(2 + f).
      const WideBits shifted = (WideBits) __builtin_convertvector(base[i], Wide) + (one - root_half);
      const Wide f = (Wide)((shifted & fraction) + root_half) - 1.0;
      const Wide e = (Wide)((shifted >> 52) | (std::uint64_t{1075} << 52)) - (4503599627370496.0 + 1023.0);
      const Wide s = f / (f + 2.0), z = s * s;
      Wide p = z * (2.0 / 15) + 2.0 / 13;
      for (int k = 11; k > 0; k -= 2) p = p * z + 2.0 / k;
      Wide t = __builtin_convertvector(exponent[i], Wide) * (e * 0.69314718055994530942 + s * p);
      t = t > 200.0 ? 200.0 - Wide{} : t;  // gives infinity or 0 in float beyond
      t = t < -200.0 ? -200.0 - Wide{} : t;
      const Wide rounded = t * 1.44269504088896340736 + magic, n = rounded - magic;
      const Wide r = t - n * 0.69314718055994530942;
      Wide q = r * (1.0 / 40320) + 1.0 / 5040;
      for (const double c : {1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0}) q = q * r + c;
      result[i] = __builtin_convertvector(q * (Wide)((WideBits)rounded << 52), Half);
    }
    // Halves in memory would have to reach the cache before a register could be loaded from them.
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return Register((Vector)__builtin_shufflevector(result[0], result[1], I...));
    }(std::make_index_sequence<size>());
  }
  /// std::pow per lane, including special values.
  static Register float_power(const Register& x, const Register& y) {
    const Register zero(0), one(1), endless(std::numeric_limits<T>::infinity()), a = abs(x),
                                                                                 size_of_y = abs(y);
    const Register all_integral(8388608), half = size_of_y * Register(0.5);  // from 2^23 on
    const auto is_integral = [&](const Register& z) {
      return (z >= all_integral) | ((z + all_integral) - all_integral == z);
    };
    const Condition integral = is_integral(size_of_y);
    const Condition odd = integral & !is_integral(half) & (size_of_y < Register(16777216));
    Register power = positive_power(where((a > zero) & (a < endless), a, one), y);
    power = where(a == zero, where(y < zero, endless, zero), power);
    power = where(a == endless, where(y < zero, zero, endless), power);
    power = where(a == one, one, power);
    power = where(odd, power.signed_like(x), power);
    power = where((x < zero) & (a < endless) & !integral, std::numeric_limits<T>::quiet_NaN(), power);
    power = where(x == x, where(y == y, power, y), x);
    return where((x == one) | (y == zero), one, power);
  }
  /// sin(x + quarter·π/2) for a quarter of 0 or 1.
  template <int quarter>
  static Register wave(const Register& x) {
    if constexpr (turns_lanes) {
      // |x| = n·π/2 + r. The first part of π/2 cancels exactly, and the last one is added at the end.
      constexpr T magic = 12582912;  // 3·2^22
      const Vector size_of_x = abs(x).v, shifted = size_of_x * 0.636619747f + magic, n = shifted - magic;
      Vector r = size_of_x;
      add_product(n, -1.57079637f, r);
      add_product(n, 4.37113883e-08f, r);
      const Vector z = r * r;
      const Vector s = polynomial(sin_series, z).v * (z * r) + n * 1.71512451e-15f + r;
      const Vector c = (polynomial(cos_series, z).v * z - T(0.5)) * z + T(1);
      const Integers turns = (Integers)shifted + quarter;
      BitVector sign = (BitVector)turns << 30 & sign_bit;
      if constexpr (quarter == 0) sign ^= (BitVector)x.v & sign_bit;
      const Register y((Vector)((BitVector)((turns & 1) != 0 ? c : s) ^ sign));
      return exceeds(size_of_x, most_turned) ? beyond<quarter>(x, y) : y;
    } else {
      return beyond<quarter>(x, x);
    }
  }
  // (sin(r)/r - 1)/r² and (cos(r) - 1 + r²/2)/r⁴ in r² on |r| <= π/4, interpolated at the Chebyshev
  // nodes: within 2^-26.2 of sin and cos.
  static constexpr std::array<T, 3> sin_series{T(-0.16666664), T(0.008332748), T(-0.00019587841)};
  static constexpr std::array<T, 3> cos_series{T(0.041666664), T(-0.0013888302), T(2.4547891e-05)};
  static constexpr bool turns_lanes = std::is_same_v<T, float> && (bytes > 16);
  /// The largest |x| that wave reduces itself.
  static constexpr T most_turned = turns_lanes ? 32768 : -1;
  /// y, with the standard library's result where |x| is larger.
  template <int quarter>
  static Register beyond(const Register& x, const Register& y) {
    alignas(bytes) T from[size], to[size];
    x.store(from);
    y.store(to);
    for (int i = 0; i < size; ++i)
      if (std::abs(from[i]) > most_turned) to[i] = quarter == 0 ? std::sin(from[i]) : std::cos(from[i]);
    return load(to);
  }
  static Register erfc_of_positive(const Register& x, Register& bell) {
    const Vector z = x.v > S::erfc_end ? S::erfc_end - Vector{} : x.v;
    const Vector inverse = T(1) / (z + S::erfc_centre), q = (z - S::erfc_centre) * inverse;
    // -z² = n·ln 2 + r, where z² = high² + low·(z + high); n·ln2_high and high² are exact.
    constexpr Bits lower = (Bits{1} << (S::fraction_bits / 2 + 1)) - 1;
    const Vector high = (Vector)((BitVector)z & ~lower), low = z - high;
    constexpr T magic = static_cast<T>(Bits{3} << (S::fraction_bits - 1)) + T{S::bias + room};
    const Vector shifted = magic - z * z * log2_e;  // rounds
    const Vector n = shifted - magic;
    Vector r = n * -S::ln2_high - high * high;
    r = r - low * (z + high);
    r = r - n * S::ln2_low;
    // exp(r)/2^room is normal, and so is 2^(n + room): only the last product may be denormal.
    const Vector e = polynomial(small_exp_series, r).v;
    const Vector scale = (Vector)((BitVector)shifted << S::fraction_bits);
    bell = Register(e * scale);
    if constexpr (std::is_same_v<T, double>)  // keeps a digit that halves lose
      return Register(e * (polynomial(S::erfc_series, q).v * inverse) * scale);
    return Register(e * (halved_polynomial(S::erfc_series, q).v * inverse) * scale);
  }
  static constexpr int room = std::is_same_v<T, float> ? 64 : 512;
  static constexpr auto small_exp_series = [] {
    auto series = S::exp_series;
    for (T& term : series)
      for (int i = 0; i < room; ++i) term /= 2;
    return series;
  }();

  // Compiler builtins: including <immintrin.h> would cost a user's file more than this header.
#if defined(__clang__) && __has_builtin(__builtin_elementwise_sqrt)
  static void square_root(const Vector& x, Vector& y) { y = __builtin_elementwise_sqrt(x); }
#elif defined(__GNUC__) && !defined(__clang__) && defined(__SSE2__)
  static void square_root(const Vector& x, Vector& y) {
    if constexpr (bytes > 16)
      wide_root(x, y);
    else if constexpr (std::is_same_v<T, float>)
      y = __builtin_ia32_sqrtps(x);
    else
      y = __builtin_ia32_sqrtpd(x);
  }
#if defined(__AVX512F__)
  static void wide_root(const Vector& x, Vector& y) {
    constexpr int current_rounding = 4;
    if constexpr (std::is_same_v<T, float>)
      y = __builtin_ia32_sqrtps512_mask(x, x, -1, current_rounding);
    else
      y = __builtin_ia32_sqrtpd512_mask(x, x, -1, current_rounding);
  }
#else
  [[gnu::target("avx2,fma")]] static void wide_root(const Vector& x, Vector& y) {
    if constexpr (std::is_same_v<T, float>)
      y = __builtin_ia32_sqrtps256(x);
    else
      y = __builtin_ia32_sqrtpd256(x);
  }
#endif
#else
  static void square_root(const Vector& x, Vector& y) {
    for (int i = 0; i < size; ++i) y[i] = std::sqrt(x[i]);
  }
#endif

  // For floats in more than 16 bytes: `exceeds` is true if a lane of x is greater than the bound, and
  // `add_product` is y = a·b + y, rounded once.
#if defined(__AVX512F__)
  static bool exceeds(const Vector& x, T bound) {
    constexpr int greater = 14, current_rounding = 4;
    return __builtin_ia32_cmpps512_mask(x, bound - Vector{}, greater, -1, current_rounding) != 0;
  }
  static void add_product(const Vector& a, T b, Vector& y) {
    constexpr int current_rounding = 4;
    y = __builtin_ia32_vfmaddps512_mask(a, b - Vector{}, y, -1, current_rounding);
  }
#elif defined(__x86_64__)
  [[gnu::target("avx2,fma")]] static bool exceeds(const Vector& x, T bound) {
    return __builtin_ia32_movmskps256((Vector)(x > bound)) != 0;
  }
  [[gnu::target("avx2,fma")]] static void add_product(const Vector& a, T b, Vector& y) {
    y = __builtin_ia32_vfmaddps256(a, b - Vector{}, y);
  }
#endif

  Vector v;
};

}  // namespace
}  // namespace retort::lanes
