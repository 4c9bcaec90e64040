// Rows of the distillation losses: their exponentials and sums, and the rules of the divergences.
#pragma once

#include <cmath>
#include <limits>

#include "retort/framework/kernels/distillation.hpp"
#include "retort/framework/kernels/log_impl.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {

// In one row, s and t are the logits minus their maxima, zs the sum of exp(s/T), zt that of exp(t/T), z1 that
// of exp(s), and x = sum(exp(t/T)·(t - s)). Then
//   KL = x/(T·zt) + log zs - log zt,   q = exp(s/T)/zs,   p = exp(t/T)/zt,
// and the gradients of T²·KL are T·(q - p) for s and T·p·((t - s)/T + log zs - log zt - KL) for t.

/// sum + e·(t - s); a class with teacher probability 0 contributes nothing, whatever the student's logit.
template <class T>
inline Batch<T> add_cross_term(const Batch<T>& sum, const Batch<T>& e, const Batch<T>& t, const Batch<T>& s) {
  const Batch<T> zero(T{0});
  return fma<T>(e, select(e == zero, zero, t - s), sum);
}

/// The computation of exp(s) from e = exp(s/T): none if T = 1 or cross-entropy has no weight, a power if T is
/// a small integer, otherwise a separate exponential.
enum class Second { none, square, cube, fourth, exponential };

template <class T>
inline Batch<T> power(Second second, const Batch<T>& e) {
  const Batch<T> square = e * e;
  return second == Second::square ? square : second == Second::cube ? square * e : square * square;
}

/// Values shared by all rows of a call.
template <class T>
struct Setting {
  explicit Setting(const DistillationRows<T>& of)
      : call(of),
        divergence(of.beta != 0                                   ? of.divergence
                   : of.divergence == Divergence::skew_kl         ? Divergence::forward_kl
                   : of.divergence == Divergence::skew_reverse_kl ? Divergence::reverse_kl
                                                                  : of.divergence),
        kl(of.alpha > 0 && divergence != Divergence::logit_mse),
        mse(of.alpha > 0 && divergence == Divergence::logit_mse),
        ce(of.alpha < 1),
        standardize(of.standardize && (kl || mse)),
        temperature(kl ? of.temperature : 1),
        inverse(static_cast<T>(1 / temperature)),
        kl_weight(divergence == Divergence::total_variation ? of.alpha / temperature
                                                            : of.alpha * temperature),
        kl_loss(divergence == Divergence::total_variation ? of.alpha : kl_weight * temperature),
        ce_weight(1 - of.alpha),
        exponential(1 / temperature),
        far(is_far<T>(2 * of.rows * of.classes)),
        flushes(of.teacher_gradient == nullptr && divergence != Divergence::reverse_kl) {
    if (ce && (temperature != 1 || standardize))
      second = standardize        ? Second::exponential
               : temperature == 2 ? Second::square
               : temperature == 3 ? Second::cube
               : temperature == 4 ? Second::fourth
                                  : Second::exponential;
  }
  /// The same call without the label term, or without the divergence.
  Setting alone(bool divergence_only) const {
    Setting part = *this;
    if (divergence_only) {
      part.ce = false;
      part.second = Second::none;
      return part;
    }
    part.kl = part.mse = false;
    part.temperature = 1;
    part.inverse = T{1};
    part.exponential = ScaledExp<T>(1);
    part.second = Second::none;
    return part;
  }
  bool in(Index row) const { return call.mask == nullptr || call.mask[row] != 0; }
  double upstream(Index row) const {
    return in(row) ? call.scale * (call.g == nullptr ? 1 : static_cast<double>(call.g[row])) : 0;
  }

  const DistillationRows<T>& call;
  Divergence divergence;
  bool kl, mse, ce;  // terms of the loss: divergence of distributions, divergence of logits, cross-entropy
  bool standardize;  // the divergence is that of standardized logits
  double temperature;
  T inverse;
  double kl_weight, kl_loss;  // factors of q·∂D/∂q in the gradient, and of the divergence itself
  double ce_weight;
  ScaledExp<T> exponential;  // exp(x/T)
  bool far;
  bool flushes;  // false if a gradient multiplies small probabilities by large logarithms
  Second second = Second::none;
};

// ---- Long rows: one pass in blocks. The exponentials are kept in scratch memory until their sums are known.

template <class T>
struct LongRow {
  // Not an aggregate: initialising one would zero the shifts, two thousand bytes per row.
  LongRow(const T* student, const T* teacher, Index classes) : s(student), t(teacher), n(classes) {}

  const T *s, *t;
  Index n;
  T *es = nullptr, *et = nullptr, *e1 = nullptr;  // memory for exponentials, or null
  RunningShift<T> shift_s, shift_t;
  double zs = 0, zt = 0, z1 = 0, x = 0;

  /// Computes the sums (x only if `crossed`) and the exponentials relative to the shift of their block. The
  /// teacher is read if `kl`, which equals setting.kl.
  template <bool kl, bool crossed>
  void visit(const Setting<T>& setting) {
    pass<kl, crossed>(setting);
    if (is_bounded() && std::isfinite(x)) return;
    // A shift was far below the maximum, or too low for a class with probability 0 for the student and nearly
    // 0 for the teacher. The second pass starts from the true maxima.
    shift_s.expect(row_max(s, n));
    if (kl) shift_t.expect(row_max(t, n));
    pass<kl, crossed>(setting);
  }

 private:
  /// False if exponentials were too large for ScaledExp, or the logits are not finite.
  bool is_bounded() const { return zs < 1e18 && zt < 1e18 && z1 < 1e18; }
  /// One pass; it ends with the first block after which is_bounded() is false.
  template <bool kl, bool crossed>
  void pass(const Setting<T>& setting);
};

// Flattened: the sums stay in registers.
template <class T>
template <bool kl, bool crossed>
[[gnu::flatten]] void LongRow<T>::pass(const Setting<T>& setting) {
  const Second second = kl ? setting.second : Second::none;
  const Index block = RunningShift<T>::block_of(n);
  // The first classes of a block yield a shift for all of it, unless exponentials would often overflow.
  const Index some = setting.inverse > T{4} ? block : 64;
  zs = zt = z1 = x = 0;
  for (Index begin = 0; begin < n; begin += block) {
    const Index index = begin / block, length = std::min(block, n - begin);
    const T *from_s = s + begin, *from_t = kl ? t + begin : nullptr;
    const auto max_of_some = [&](const T* from) {
      const T max = row_max(from, std::min(length, some));
      return max == -infinity<T> ? row_max(from, length) : max;
    };
    const T fall_s = shift_s.next(index, max_of_some(from_s));
    const T fall_t = kl ? shift_t.next(index, max_of_some(from_t)) : T{0};
    if (fall_s != T{0} || fall_t != T{0}) {
      const double scale = 1 / setting.temperature, down_s = static_cast<double>(fall_s),
                   down_t = static_cast<double>(fall_t);
      x = std::exp(down_t * scale) * (x + zt * (down_t - down_s));
      zt *= std::exp(down_t * scale);
      zs *= std::exp(down_s * scale);
      z1 *= std::exp(down_s);
    }
    const Batch<T> by_s(shift_s.at(index)), by_t(kl ? shift_t.at(index) : T{0}), zero(T{0});
    Batch<T> sum_s = zero, sum_t = zero, sum_1 = zero, sum_x = zero;
    walk<T, kl ? 2 : 4>(
        length, [&]<int K>(Index i, Index count) __attribute__((always_inline)) {
          auto student = load_each<K>(from_s + i, count, -infinity<T>);
          prefetch_each<K>(from_s + i + row_block);
          for (Batch<T>& one : student) one = one - by_s;
          std::array<Batch<T>, kl ? 2 * K : K> e;
          std::copy_n(student.begin(), K, e.begin());
          if constexpr (kl) {
            auto teacher = load_each<K>(from_t + i, count, -infinity<T>);
            prefetch_each<K>(from_t + i + row_block);
            for (int k = 0; k < K; ++k) e[K + k] = teacher[k] = teacher[k] - by_t;
            setting.exponential(e);
            for (int k = 0; k < K; ++k) {
              sum_t += e[K + k];
              if constexpr (crossed) sum_x = add_cross_term<T>(sum_x, e[K + k], teacher[k], student[k]);
              if (et != nullptr) store_lanes(et + begin + i + k * lanes<T>, e[K + k], count);
            }
          } else {
            setting.exponential(e);
          }
          for (int k = 0; k < K; ++k) {
            sum_s += e[k];
            if (es != nullptr) store_lanes(es + begin + i + k * lanes<T>, e[k], count);
          }
          if (second == Second::exponential) {
            exp_each<T>(student);
            for (int k = 0; k < K; ++k) {
              sum_1 += student[k];
              if (e1 != nullptr) store_lanes(e1 + begin + i + k * lanes<T>, student[k], count);
            }
          } else if (second != Second::none) {
            for (int k = 0; k < K; ++k) sum_1 += power<T>(second, e[k]);
          }
        });
    zs += static_cast<double>(sum_lanes<T>(sum_s));
    zt += static_cast<double>(sum_lanes<T>(sum_t));
    z1 += static_cast<double>(sum_lanes<T>(sum_1));
    x += static_cast<double>(sum_lanes<T>(sum_x));
    if (!is_bounded()) return;
  }
}

// ---- The other divergences D are sums over classes. A rule reads registers of exp(s/T) and exp(t/T) and
// computes D, q·∂D/∂q and p·∂D/∂p. The latter two may be off by multiples of q and p, which the softmax
// removes: with W = sum(q·∂D/∂q), the gradient for s is (q·∂D/∂q - q·W)/T.

/// The factors of a block's exponentials that give q and p; zs, log zt - log zs and 1/T.
template <class T>
struct Factors {
  Batch<T> q, p, zs, apart, inverse;
};

/// K registers of classes: exponentials, the shifts (of the block if of_block, otherwise the greatest ones)
/// minus s and t if the rule needs them, and the results:
/// q·∂D/∂q = slope·q·by_q and p·∂D/∂p = by_p.
/// Infinite logits have finite results if the rule is guarded; otherwise the sums become NaN.
template <class T, std::size_t K>
struct Classes {
  std::array<Batch<T>, K> q, p, s, t, by_q, by_p;
};

/// Sums over a block: the rule's terms, exp(s/T)·by_q, and by_p.
template <class T>
struct BlockSums {
  Batch<T> term = Batch<T>(T{0}), by_q = Batch<T>(T{0}), by_p = Batch<T>(T{0});
};

template <class T>
struct ReverseKL {
  static constexpr bool needs_logits = true, of_block = false;
  static double slope(double /*beta*/) { return 1; }
  static double constant(double /*beta*/) { return 0; }
  ReverseKL(double /*beta*/, const Factors<T>& factors) : f(factors) {}
  template <bool for_teacher, bool guarded, std::size_t K>
  void operator()(Classes<T, K>& c, BlockSums<T>&) const {
    const Batch<T> zero(T{0});
    for (std::size_t k = 0; k < K; ++k) {
      c.by_q[k] = fma<T>(c.t[k] - c.s[k], f.inverse, f.apart);
      if constexpr (guarded) c.by_q[k] = select(c.q[k] == zero, zero, c.by_q[k]);
      if constexpr (for_teacher) c.by_p[k] = -(f.q * c.q[k]);
    }
  }
  /// The terms of the divergence of a block.
  Batch<T> divergence(const BlockSums<T>& sums) const { return f.q * sums.by_q; }
  Factors<T> f;
};

/// by_q is -log(q/m), and the terms are p·(-log(p/m) - constant).
template <class T>
struct JensenShannon {
  static constexpr bool needs_logits = true, of_block = false;
  static double slope(double beta) { return beta - 1; }
  /// The factor of log zt - log zs in the divergence.
  static double constant(double beta) { return -beta; }
  JensenShannon(double beta, const Factors<T>& f)
      : of_q(Batch<T>(static_cast<T>(1 - beta)) * f.q * f.zs),
        of_p(Batch<T>(static_cast<T>(beta)) * f.p * f.zs),
        inverse(f.inverse),
        by_student(Batch<T>(static_cast<T>(beta - 1)) * f.q),
        by_teacher(Batch<T>(static_cast<T>(-beta)) * f.p) {}
  template <bool for_teacher, bool guarded, std::size_t K>
  void operator()(Classes<T, K>& c, BlockSums<T>& sums) const {
    const Batch<T> most(T{2000}), least(std::numeric_limits<T>::min());
    std::array<Batch<T>, K> log_m;
    for (std::size_t k = 0; k < K; ++k) log_m[k] = fma<T>(of_p, c.p[k], fma<T>(of_q, c.q[k], least));
    log_each_above_least<T>(log_m);
    for (std::size_t k = 0; k < K; ++k) {
      c.by_q[k] = fma<T>(c.s[k], inverse, log_m[k]);
      Batch<T> of_teacher = fma<T>(c.t[k], inverse, log_m[k]);
      if constexpr (guarded) {
        c.by_q[k] = min_of<T>(most, c.by_q[k]);
        of_teacher = min_of<T>(most, of_teacher);
      }
      sums.term = fma<T>(c.p[k], of_teacher, sums.term);
      if constexpr (for_teacher) c.by_p[k] = by_teacher * c.p[k] * of_teacher;
    }
  }
  Batch<T> divergence(const BlockSums<T>& sums) const {
    return fma<T>(by_teacher, sums.term, by_student * sums.by_q);
  }
  Batch<T> of_q, of_p, inverse, by_student, by_teacher;
};

/// KL(p ‖ share·p + (1 - share)·q), or with p and q exchanged.
template <class T, bool exchanged>
struct SkewKL {
  static constexpr bool needs_logits = true, of_block = true;
  static double slope(double share) { return exchanged ? -1 : share - 1; }
  static double constant(double /*beta*/) { return 0; }
  SkewKL(double beta, const Factors<T>& f)
      : share(static_cast<T>(beta)),
        other(Batch<T>(static_cast<T>(1 - beta)) * (exchanged ? f.p / f.q : f.q / f.p)),
        of_own(-(exchanged ? f.q : f.p)),
        by_teacher(exchanged ? Batch<T>(static_cast<T>(beta - 1)) * f.p : -f.p),
        inverse(f.inverse) {
    // One of the factors may have underflowed: the probabilities of this block are 0.
    other = max_of<T>(min_of<T>(other, Batch<T>(T(1e30))), Batch<T>(T(1e-30)));
  }
  template <bool for_teacher, bool guarded, std::size_t K>
  void operator()(Classes<T, K>& c, BlockSums<T>& sums) const {
    const auto &p = exchanged ? c.q : c.p, &q = exchanged ? c.p : c.q, &logits = exchanged ? c.s : c.t;
    const Batch<T> least(std::numeric_limits<T>::min()), most(T{2000});
    std::array<Batch<T>, K> m, ratio;
    for (std::size_t k = 0; k < K; ++k) m[k] = fma<T>(share, p[k], fma<T>(other, q[k], least));
    for (std::size_t k = 0; k < K; ++k) ratio[k] = p[k] / m[k];
    log_each_above_least<T>(m);
    for (std::size_t k = 0; k < K; ++k) {
      Batch<T> log_inverse = fma<T>(logits[k], inverse, m[k]);  // of p/m
      if constexpr (guarded) log_inverse = min_of<T>(most, log_inverse);
      sums.term = fma<T>(p[k], log_inverse, sums.term);
      if constexpr (exchanged || for_teacher) log_inverse = fma<T>(share, ratio[k], log_inverse);
      c.by_q[k] = exchanged ? log_inverse : ratio[k];
      if constexpr (for_teacher) c.by_p[k] = by_teacher * c.p[k] * (exchanged ? ratio[k] : log_inverse);
    }
  }
  Batch<T> divergence(const BlockSums<T>& sums) const { return of_own * sums.term; }
  Batch<T> share, other, of_own, by_teacher, inverse;
};

template <class T>
struct TotalVariation {
  static constexpr bool needs_logits = false, of_block = false;
  static double slope(double /*beta*/) { return 1; }
  static double constant(double /*beta*/) { return 0; }
  TotalVariation(double /*beta*/, const Factors<T>& factors) : f(factors) {}
  template <bool for_teacher, bool guarded, std::size_t K>
  void operator()(Classes<T, K>& c, BlockSums<T>& sums) const {
    const Batch<T> zero(T{0}), half(T(0.5)), rounding(std::numeric_limits<T>::epsilon());
    for (std::size_t k = 0; k < K; ++k) {
      const Batch<T> p = c.p[k] * f.p, apart = fma<T>(c.q[k], f.q, -p), tie = rounding * p;
      c.by_q[k] = select(apart > tie, half, select(apart < -tie, -half, zero));
      sums.term = fma<T>(apart, c.by_q[k], sums.term);
      if constexpr (for_teacher) c.by_p[k] = -(c.by_q[k] * p);
    }
  }
  Batch<T> divergence(const BlockSums<T>& sums) const { return sums.term; }
  Factors<T> f;
};

/// Row sums of the divergence and of the rule's values for q and p.
struct RuleSums {
  double term = 0, by_q = 0, by_p = 0, slope = 0;
};

/// Registers per operand at a time.
inline constexpr int rule_step = 4;

/// A block of a row: its exponentials and logits, the shifts of the latter, and memory for by_q and by_p,
/// which may be that of exp(t/T). `next` is a block of the next row, `gradient` memory to be written
/// afterwards.
template <class T>
struct Block {
  Index n;
  const T *es, *et, *s, *t;
  T *w, *v;
  const T *next, *gradient;
  Batch<T> by_s, by_t;
};

/// Applies a rule to a block. If guarded, logits may be infinite, and exp(t/T) is computed again relative to
/// `shift`. The arguments are copies and all calls are inlined, so that everything stays in registers.
template <bool for_teacher, bool guarded, class T, class Rule>
[[gnu::noinline, gnu::flatten]] BlockSums<T> apply_to_block(const Rule rule, const Block<T> block,
                                                            const ScaledExp<T>& exponential, T shift) {
  BlockSums<T> sums;
  walk<T, rule_step>(block.n, [&]<int K>(Index i, Index count) {
    Classes<T, K> c;
    c.q = load_each<K>(block.es + i, count, T{0});
    if constexpr (guarded) {
      c.p = load_each<K>(block.t + i, count, -infinity<T>);
      for (Batch<T>& p : c.p) p = p - Batch<T>(shift);
      exponential(c.p);
    } else {
      c.p = load_each<K>(block.et + i, count, T{0});
    }
    if constexpr (Rule::needs_logits) {
      c.s = load_each<K>(block.s + i, count, T{0});
      c.t = load_each<K>(block.t + i, count, T{0});
      for (int k = 0; k < K; ++k) {
        c.s[k] = block.by_s - c.s[k];
        c.t[k] = block.by_t - c.t[k];
      }
    }
    // The memory is idle in this pass.
    prefetch_far<K>(block.next + i);
    prefetch_far<K>(block.gradient + i);
    rule.template operator()<for_teacher, guarded>(c, sums);
    for (int k = 0; k < K; ++k) {
      sums.by_q = fma<T>(c.q[k], c.by_q[k], sums.by_q);
      if constexpr (for_teacher) sums.by_p += c.by_p[k];
    }
    store_each<T>(block.w + i, c.by_q, count);
    if constexpr (for_teacher) store_each<T>(block.v + i, c.by_p, count);
  });
  return sums;
}

/// Applies a rule to a row after the first pass; `apart` is log zt - log zs. Writes by_q to w and, if
/// for_teacher, by_p to v, and fetches the memory of `gradient`.
template <class Rule, bool for_teacher, class T>
RuleSums apply_rule(const Setting<T>& setting, const LongRow<T>& row, double apart, T* w, T* v,
                    const T* gradient) {
  const Index block = RunningShift<T>::block_of(row.n);
  const double beta = setting.call.beta;
  RuleSums total{.slope = Rule::slope(beta)};
  for (Index begin = 0; begin < row.n; begin += block) {
    const Index index = begin / block;
    const double of_q = static_cast<double>(row.shift_s.factor(index, setting.inverse)) / row.zs,
                 of_p = static_cast<double>(row.shift_t.factor(index, setting.inverse)) / row.zt;
    const Rule rule(
        beta, {Batch<T>(static_cast<T>(of_q)), Batch<T>(static_cast<T>(of_p)),
               Batch<T>(static_cast<T>(row.zs)), Batch<T>(static_cast<T>(apart)), Batch<T>(setting.inverse)});
    const T shift = row.shift_t.at(index);
    const Block<T> part{.n = std::min(block, row.n - begin),
                        .es = row.es + begin,
                        .et = row.et + begin,
                        .s = row.s + begin,
                        .t = row.t + begin,
                        .w = w + begin,
                        .v = for_teacher ? v + begin : nullptr,
                        .next = row.t + row.n + row_block + begin,
                        .gradient = gradient + begin,
                        .by_s = Batch<T>(Rule::of_block ? row.shift_s.at(index) : row.shift_s.greatest()),
                        .by_t = Batch<T>(Rule::of_block ? shift : row.shift_t.greatest())};
    BlockSums<T> sums = apply_to_block<for_teacher, false>(rule, part, setting.exponential, shift);
    if constexpr (Rule::needs_logits)
      if (std::isnan(sum_lanes<T>(sums.term + sums.by_q)))  // perhaps 0·infinity
        sums = apply_to_block<for_teacher, true>(rule, part, setting.exponential, shift);
    total.term += static_cast<double>(sum_lanes<T>(rule.divergence(sums)));
    total.by_q += total.slope * of_q * static_cast<double>(sum_lanes<T>(sums.by_q));
    total.by_p += static_cast<double>(sum_lanes<T>(sums.by_p));
  }
  const double nan_if_any = 0 * (row.zs + row.zt);  // maxima ignore NaN
  total.term += Rule::constant(beta) * apart + nan_if_any;
  total.by_q += nan_if_any;
  total.by_p += nan_if_any;
  return total;
}

/// Calls f.operator()<Rule>() with the rule of the setting's divergence.
template <class T, class F>
auto with_rule(const Setting<T>& setting, F f) {
  switch (setting.divergence) {
    case Divergence::reverse_kl: return f.template operator()<ReverseKL<T>>();
    case Divergence::jensen_shannon: return f.template operator()<JensenShannon<T>>();
    case Divergence::skew_kl: return f.template operator()<SkewKL<T, false>>();
    case Divergence::skew_reverse_kl: return f.template operator()<SkewKL<T, true>>();
    default: return f.template operator()<TotalVariation<T>>();
  }
}

template <class T>
RuleSums apply_rule(const Setting<T>& setting, const LongRow<T>& row, double apart, T* w, T* v,
                    const T* gradient) {
  return with_rule(setting, [&]<class Rule>() {
    return v != nullptr ? apply_rule<Rule, true>(setting, row, apart, w, v, gradient)
                        : apply_rule<Rule, false>(setting, row, apart, w, v, gradient);
  });
}

/// A power of two: the statistics of a row whose squares overflow are those of the row times this factor.
template <class T>
inline constexpr T downscale = std::is_same_v<T, float> ? T(0x1p-100) : T(0x1p-700);

/// Sets w to s - t, 0 for a class that is -infinity in both. Returns the sum of squares and the number of
/// included classes.
template <class T>
std::array<double, 2> differences(const T* s, const T* t, T* w, Index n) {
  const Batch<T> zero(T{0}), one(T{1}), absent(-infinity<T>);
  Batch<T> left_out = zero;
  const double squares = row_sum<T, 4>(n, [&]<int K>(Index i, Index count) {
    auto v = load_each<K>(s + i, count, T{0});
    const auto other = load_each<K>(t + i, count, T{0});
    prefetch_each<K>(s + i + row_block);
    prefetch_each<K>(t + i + row_block);
    for (int k = 0; k < K; ++k) {
      const Mask<T> none = (v[k] == absent) & (other[k] == absent);
      left_out += select(none, one, zero);
      v[k] = select(none, zero, v[k] - other[k]);
    }
    store_each<T>(w + i, v, count);
    for (int k = 0; k < K; ++k) v[k] = v[k] * v[k];
    return v;
  });
  return {squares, static_cast<double>(n) - static_cast<double>(sum_lanes<T>(left_out))};
}

/// Computes rows of at most short_row classes: the registers of rows `begin` to `end`. Explicitly
/// instantiated for float and double.
template <class T>
void short_distillation_rows(const Setting<T>& setting, Index begin, Index end);

}  // namespace retort::kernels
