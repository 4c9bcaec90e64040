// Dual numbers: a value and its derivatives, by which <retort/framework/fused.hpp> differentiates a callable.
#pragma once

#include <array>
#include <type_traits>
#include <utility>

#include "retort/framework/base/export.hpp"
#include "retort/framework/kernels/register.hpp"

namespace [[RETORT_EXPORT]] retort {
namespace detail {

/// A value and its derivatives with respect to N variables; R is a Register or a Traced. The sets of
/// variables on which it depends, and for which the derivative is 1, are constants if the compiler sees the
/// whole callable, so that factors of 0 and 1 cost nothing. A derivative may be masked: it is exactly 0
/// except where its condition holds, and stays so if it is multiplied by infinity.
template <class R, int N>
class Dual : public lanes::Arithmetic<Dual<R, N>> {
 public:
  using Condition = typename R::Condition;

  Dual() = default;
  Dual(const R& v) : value(v) {}  // NOLINT: implicit by design
  template <class Number>
    requires std::is_arithmetic_v<Number>
  Dual(Number number) : value(number) {}  // NOLINT: implicit by design
  static Dual variable(const R& v, int k) {
    Dual x(v);
    x.live_ = x.unit_ = 1u << k;
    return x;
  }

  R value;
  bool depends_on(int k) const { return (live_ >> k & 1) != 0; }
  bool is_unit(int k) const { return (unit_ >> k & 1) != 0; }
  /// The derivative with respect to variable k, on which this value depends.
  R partial(int k) const { return is_unit(k) ? R(1) : partials_[k]; }
  bool is_masked(int k) const { return (masked_ >> k & 1) != 0; }
  /// The derivative multiplied or divided by a number.
  R partial(int k, const R& factor) const { return is_unit(k) ? factor : kept(k, partials_[k] * factor); }
  R over(int k, const R& divisor) const { return kept(k, partial(k) / divisor); }

  friend Dual operator+(const Dual& a, const Dual& b) {
    return Dual(a.value + b.value, a.live_ | b.live_, (a.unit_ & ~b.live_) | (b.unit_ & ~a.live_),
                [&](int k) {
                  return !b.depends_on(k)   ? a.partial(k)
                         : !a.depends_on(k) ? b.partial(k)
                                            : a.partial(k) + b.partial(k);
                })
        .masked_as(a, b);
  }
  friend Dual operator-(const Dual& a, const Dual& b) {
    return Dual(a.value - b.value, a.live_ | b.live_, a.unit_ & ~b.live_,
                [&](int k) {
                  return !b.depends_on(k)   ? a.partial(k)
                         : !a.depends_on(k) ? -b.partial(k)
                                            : a.partial(k) - b.partial(k);
                })
        .masked_as(a, b);
  }
  friend Dual operator*(const Dual& a, const Dual& b) {
    return Dual(a.value * b.value, a.live_ | b.live_, 0,
                [&](int k) {
                  return !b.depends_on(k)   ? a.partial(k, b.value)
                         : !a.depends_on(k) ? b.partial(k, a.value)
                                            : a.partial(k, b.value) + b.partial(k, a.value);
                })
        .masked_as(a, b);
  }
  friend Dual operator/(const Dual& a, const Dual& b) {
    const R quotient = a.value / b.value;
    return Dual(quotient, a.live_ | b.live_, 0,
                [&](int k) {
                  return !b.depends_on(k)   ? a.over(k, b.value)
                         : !a.depends_on(k) ? -b.partial(k, quotient / b.value)
                         : !a.is_masked(k) || !b.is_masked(k)
                             ? (a.partial(k) - b.partial(k, quotient)) / b.value
                             : a.over(k, b.value) - b.partial(k, quotient / b.value);
                })
        .masked_as(a, b);
  }
  friend Dual operator-(const Dual& a) {
    return Dual(-a.value, a.live_, 0, [&](int k) { return -a.partial(k); }).masked_as(a, a);
  }
  friend Condition operator<(const Dual& a, const Dual& b) { return a.value < b.value; }
  friend Condition operator<=(const Dual& a, const Dual& b) { return a.value <= b.value; }
  friend Condition operator>(const Dual& a, const Dual& b) { return a.value > b.value; }
  friend Condition operator>=(const Dual& a, const Dual& b) { return a.value >= b.value; }
  friend Condition operator==(const Dual& a, const Dual& b) { return a.value == b.value; }
  friend Condition operator!=(const Dual& a, const Dual& b) { return a.value != b.value; }

  friend Dual where(const Condition& c, const Dual& a, const Dual& b) {
    return Dual(where(c, a.value, b.value), a.live_ | b.live_, a.unit_ & b.unit_,
                [&](int k) { return where(c, a.partial_or_0(k), b.partial_or_0(k)); })
        .masked_as(a.masked_by(c), b.masked_by(!c));
  }
  friend Dual abs(const Dual& x) {
    return Dual(abs(x.value), x.live_, 0,
                [&](int k) {
                  const R p = x.partial(k);
                  return where(x.value > R(0), p, where(x.value < R(0), -p, R(0)));
                })
        .masked_as(x, x);
  }
  friend Dual relu(const Dual& x) {
    const Condition rests = x.value <= R(0);
    const Dual y = x.masked_by(!rests);
    return Dual(relu(x.value), x.live_, 0, [&](int k) { return where(rests, R(0), x.partial(k)); })
        .masked_as(y, y);
  }
  friend Dual max(const Dual& a, const Dual& b) {
    return shared(max(a.value, b.value), a, b, a.value<b.value, a.value> b.value);
  }
  friend Dual min(const Dual& a, const Dual& b) {
    return shared(min(a.value, b.value), a, b, a.value > b.value, a.value < b.value);
  }

  friend Dual exp(const Dual& x) {
    const R y = exp(x.value);
    return x.chain(y, [&] { return y; });
  }
  friend Dual log(const Dual& x) {
    return Dual(log(x.value), x.live_, 0, [&](int k) { return x.over(k, x.value); }).masked_as(x, x);
  }
  friend Dual tanh(const Dual& x) {
    const R y = tanh(x.value);
    return x.chain(y, [&] { return R(1) - y * y; });
  }
  friend Dual sigmoid(const Dual& x) {
    const R y = sigmoid(x.value);
    return x.chain(y, [&] { return y * (R(1) - y); });
  }
  friend Dual sqrt(const Dual& x) {
    const R y = sqrt(x.value);
    return Dual(y, x.live_, 0, [&](int k) { return x.over(k, y + y); }).masked_as(x, x);
  }
  friend Dual sin(const Dual& x) {
    return x.chain(sin(x.value), [&] { return cos(x.value); });
  }
  friend Dual cos(const Dual& x) {
    return x.chain(cos(x.value), [&] { return -sin(x.value); });
  }
  friend Dual erf(const Dual& x) {
    return x.chain(erf(x.value), [&] { return R(two_over_root_pi) * bell(x.value); });
  }
  friend Dual erfc(const Dual& x) {
    R slope;
    const R y = erfc(x.value, slope);
    return x.chain(y, [&] { return R(-two_over_root_pi) * slope; });
  }
  friend Dual log1p(const Dual& x) {
    return Dual(log1p(x.value), x.live_, 0, [&](int k) { return x.over(k, R(1) + x.value); }).masked_as(x, x);
  }
  friend Dual expm1(const Dual& x) {
    return x.chain(expm1(x.value), [&] { return exp(x.value); });  // y + 1 would lose the tail
  }
  friend Dual pow(const Dual& x, double exponent) {
    if (exponent == 0) return Dual(pow(x.value, 0.0));
    return x.chain(pow(x.value, exponent), [&] { return R(exponent) * pow(x.value, exponent - 1); });
  }
  friend Dual pow(const Dual& x, const Dual& y) {
    const R z = pow(x.value, y.value);
    const auto by_base = [&] {  // at y = 0 the slope is 0; its derivative in y is 1/x where that is finite
      const R inverse = R(1) / x.value;
      const Condition flat = (y.value == R(0)) & !(inverse - inverse == R(0));
      return where(flat, R(0), y.value * pow(where(flat, R(1), x.value), y.value - R(1)));
    };
    const auto by_exponent = [&] {  // at x = 0 with y >= 0 the power is constant in y; log 0 must not enter
      const Condition flat = (x.value == R(0)) & (y.value >= R(0));
      return where(flat, R(0), z * log(where(flat, R(1), x.value)));
    };
    const Dual of_base = x.chain(z, by_base), of_exponent = y.chain(R(0), by_exponent);
    return of_base + of_exponent;
  }

 private:
  static constexpr double two_over_root_pi = 1.12837916709551257390;
  /// exp(-x²). It is 0 beyond ±30; clamping keeps the derivatives at infinite x at 0.
  static R bell(const R& x) {
    const R bounded = max(min(x, R(30)), R(-30));
    return exp(-bounded * bounded);
  }

  /// Calls partial_of(k) for the variables in `live` except those in `unit`.
  template <class F>
  Dual(const R& v, unsigned live, unsigned unit, const F& partial_of) : value(v), live_(live), unit_(unit) {
    each(live & ~unit, [&](int k) { partials_[k] = partial_of(k); });
  }
  /// Calls f(k) for each variable in `set`.
  template <class F>
  static void each(unsigned set, const F& f) {
    [&]<int... K>(std::integer_sequence<int, K...>) {
      ((set >> K & 1 ? f(K) : void()), ...);
    }(std::make_integer_sequence<int, N>());
  }
  template <class F>
  Dual chain(const R& v, const F& slope_of) const {
    if (live_ == 0) return Dual(v);
    const R slope = slope_of();
    return Dual(v, live_, 0, [&](int k) { return partial(k, slope); }).masked_as(*this, *this);
  }
  R kept(int k, const R& slope) const { return is_masked(k) ? where(kept_[k], slope, R(0)) : slope; }
  /// Takes over the masks of both operands: a derivative is masked if it is in each operand that has it.
  Dual masked_as(const Dual& a, const Dual& b) const {
    Dual y(*this);
    y.masked_ = live_ & ~unit_ & (a.masked_ | ~a.live_) & (b.masked_ | ~b.live_);
    y.each(y.masked_, [&](int k) {
      y.kept_[k] = !b.depends_on(k) ? a.kept_[k] : !a.depends_on(k) ? b.kept_[k] : a.kept_[k] | b.kept_[k];
    });
    return y;
  }
  /// This value, whose derivatives are also masked by the condition.
  Dual masked_by(const Condition& c) const {
    Dual y(*this);
    y.masked_ = live_;
    y.each(live_, [&](int k) { y.kept_[k] = is_masked(k) ? kept_[k] & c : c; });
    return y;
  }
  R partial_or_0(int k) const { return depends_on(k) ? partial(k) : R(0); }
  /// A maximum or minimum: the losing operand gets no gradient; ties get half each, NaN the whole for both.
  static Dual shared(const R& v, const Dual& a, const Dual& b, const Condition& a_loses,
                     const Condition& b_loses) {
    const Condition tie = a.value == b.value;
    const auto share = [&](const Dual& x, const Condition& loses, int k) {
      const R p = x.partial(k);
      return where(loses, R(0), where(tie, R(0.5) * p, p));
    };
    return Dual(v, a.live_ | b.live_, 0,
                [&](int k) {
                  return !b.depends_on(k)   ? share(a, a_loses, k)
                         : !a.depends_on(k) ? share(b, b_loses, k)
                                            : share(a, a_loses, k) + share(b, b_loses, k);
                })
        .masked_as(a.masked_by(!a_loses), b.masked_by(!b_loses));
  }

  std::array<R, N> partials_{};
  std::array<Condition, N> kept_{};
  unsigned live_ = 0, unit_ = 0, masked_ = 0;
};

}  // namespace detail
}  // namespace retort
