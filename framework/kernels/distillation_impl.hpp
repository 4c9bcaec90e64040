// Rows of the distillation losses: their exponentials and sums, and the rules of the divergences.
#pragma once

#include <cmath>

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
        temperature(kl ? of.temperature : 1),
        inverse(static_cast<T>(1 / temperature)),
        kl_weight(divergence == Divergence::total_variation ? of.alpha / temperature
                                                            : of.alpha * temperature),
        kl_loss(divergence == Divergence::total_variation ? of.alpha : kl_weight * temperature),
        ce_weight(1 - of.alpha),
        exponential(1 / temperature),
        streamed(of.rows * of.classes * static_cast<Index>(sizeof(T)) >= streamed_bytes &&
                 of.student_gradient != of.student && !of.standardize),
        flushes(of.teacher_gradient == nullptr && divergence != Divergence::reverse_kl) {
    if (ce && temperature != 1)
      second = temperature == 2   ? Second::square
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
  double temperature;
  T inverse;
  double kl_weight, kl_loss;  // factors of q·∂D/∂q in the gradient, and of the divergence itself
  double ce_weight;
  ScaledExp<T> exponential;  // exp(x/T)
  bool streamed;
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
  void visit(const Setting<T>& setting);
};

// Flattened: the sums stay in registers.
template <class T>
template <bool kl, bool crossed>
[[gnu::flatten]] void LongRow<T>::visit(const Setting<T>& setting) {
  const Second second = kl ? setting.second : Second::none;
  const Index block = RunningShift<T>::block_of(n);
  zs = zt = z1 = x = 0;
  for (Index begin = 0; begin < n; begin += block) {
    const Index index = begin / block, length = std::min(block, n - begin);
    const T *from_s = s + begin, *from_t = kl ? t + begin : nullptr;
    const T fall_s = shift_s.next(index, row_max(from_s, length));
    const T fall_t = kl ? shift_t.next(index, row_max(from_t, length)) : T{0};
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
          prefetch_each<K>(from_s + i + ahead);
          for (Batch<T>& one : student) one = one - by_s;
          std::array<Batch<T>, kl ? 2 * K : K> e;
          std::copy_n(student.begin(), K, e.begin());
          if constexpr (kl) {
            auto teacher = load_each<K>(from_t + i, count, -infinity<T>);
            prefetch_each<K>(from_t + i + ahead);
            for (int k = 0; k < K; ++k) e[K + k] = teacher[k] = teacher[k] - by_t;
            setting.exponential(e);
            for (int k = 0; k < K; ++k) {
              sum_t += e[K + k];
              if constexpr (crossed) sum_x = add_cross_term<T>(sum_x, e[K + k], teacher[k], student[k]);
              if (et != nullptr) store_lanes(et + begin + i + k * lanes<T>, e[K + k], count);
            }
          } else {
            exp_each_below_0<T>(e);
          }
          for (int k = 0; k < K; ++k) {
            sum_s += e[k];
            if (es != nullptr) store_lanes(es + begin + i + k * lanes<T>, e[k], count);
          }
          if (second == Second::exponential) {
            exp_each_below_0<T>(student);
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
  }
}

// ---- The other divergences are sums over classes of a term D(p, q). A rule gives the term, q·∂D/∂q and
// p·∂D/∂p. The latter two may be off by multiples of q and p, which the softmax removes: with W =
// sum(q·∂D/∂q), the gradient for s is (q·∂D/∂q - q·W)/T.

/// K registers of classes: the probabilities times the rule's weights, their logarithms if the rule needs
/// them, and its results.
template <class T, std::size_t K>
struct Classes {
  std::array<Batch<T>, K> p, q, log_p, log_q, term, by_q, by_p;
};

/// x·y, and 0 where x is 0.
template <class T>
inline Batch<T> zero_or_product(const Batch<T>& x, const Batch<T>& y) {
  const Batch<T> zero(T{0});
  return select(x == zero, zero, x * y);
}

/// A rule of the probabilities themselves.
struct Unweighted {
  double of_p = 1, of_q = 1;
};

template <class T>
struct ReverseKL : Unweighted {
  static constexpr bool needs_logs = true;
  template <std::size_t K>
  void operator()(Classes<T, K>& c) const {
    for (std::size_t k = 0; k < K; ++k) {
      c.term[k] = c.by_q[k] = zero_or_product<T>(c.q[k], c.log_q[k] - c.log_p[k]);
      c.by_p[k] = -c.q[k];
    }
  }
};

template <class T>
struct JensenShannon {
  static constexpr bool needs_logs = true;
  double of_p, of_q;  // weights in the mixture
  template <std::size_t K>
  void operator()(Classes<T, K>& c) const {
    const Batch<T> least(std::numeric_limits<T>::lowest());  // replaces -infinity, which is multiplied by 0
    const Batch<T> normal(std::numeric_limits<T>::min());
    std::array<Batch<T>, K> log_m;
    for (std::size_t k = 0; k < K; ++k) log_m[k] = max_of<T>(c.p[k] + c.q[k], normal);
    log_each_above_least<T>(log_m);
    for (std::size_t k = 0; k < K; ++k) {
      c.by_p[k] = c.p[k] * max_of<T>(least, c.log_p[k] - log_m[k]);
      c.by_q[k] = c.q[k] * max_of<T>(least, c.log_q[k] - log_m[k]);
      c.term[k] = c.by_p[k] + c.by_q[k];
    }
  }
};

/// KL(p ‖ share·p + (1 - share)·q), or with p and q exchanged.
template <class T, bool exchanged>
struct SkewKL {
  static constexpr bool needs_logs = false;
  double of_p, of_q;
  Batch<T> share;
  SkewKL(double of_own, double of_other)
      : of_p(exchanged ? of_other : 1), of_q(exchanged ? 1 : of_other), share(static_cast<T>(of_own)) {}
  template <std::size_t K>
  void operator()(Classes<T, K>& c) const {
    const auto &p = exchanged ? c.q : c.p, &q = exchanged ? c.p : c.q;
    auto &by_p = exchanged ? c.by_q : c.by_p, &by_q = exchanged ? c.by_p : c.by_q;
    const Batch<T> least(std::numeric_limits<T>::min());
    std::array<Batch<T>, K> ratio, log_ratio;
    for (std::size_t k = 0; k < K; ++k)
      ratio[k] = p[k] * inverse_of<T>(max_of<T>(least, fma<T>(share, p[k], q[k])));
    for (std::size_t k = 0; k < K; ++k) log_ratio[k] = max_of<T>(ratio[k], least);
    log_each_above_least<T>(log_ratio);
    for (std::size_t k = 0; k < K; ++k) {
      c.term[k] = p[k] * log_ratio[k];
      by_p[k] = p[k] * fma<T>(-share, ratio[k], log_ratio[k]);
      by_q[k] = -(ratio[k] * q[k]);
    }
  }
};

template <class T>
struct TotalVariation : Unweighted {
  static constexpr bool needs_logs = false;
  template <std::size_t K>
  void operator()(Classes<T, K>& c) const {
    const Batch<T> zero(T{0}), half(T(0.5));
    for (std::size_t k = 0; k < K; ++k) {
      const Batch<T> apart = c.q[k] - c.p[k];
      const Batch<T> sign = select(apart > zero, half, select(apart < zero, -half, zero));
      c.term[k] = apart * sign;
      c.by_q[k] = sign * c.q[k];
      c.by_p[k] = -sign * c.p[k];
    }
  }
};

/// Row sums of the terms and of the rule's values for q and p.
struct RuleSums {
  double term = 0, by_q = 0, by_p = 0;
};

/// Registers per operand at a time, few enough not to spill.
inline constexpr int rule_step = 2;

/// Applies a rule to a row after the first pass. Writes its values for q to w and, if for_teacher, for p to
/// v; these may be the row's buffers of exponentials.
template <bool for_teacher, class T, class Rule>
RuleSums apply_rule(const Setting<T>& setting, const LongRow<T>& row, const Rule& rule, T* w, T* v) {
  const Index block = RunningShift<T>::block_of(row.n);
  const auto logs = log_four({row.zs, row.zt, 1, 1});
  const Batch<T> inverse(setting.inverse), log_zs(static_cast<T>(logs[0])), log_zt(static_cast<T>(logs[1])),
      max_s(row.shift_s.greatest()), max_t(row.shift_t.greatest());
  RuleSums total;
  for (Index begin = 0; begin < row.n; begin += block) {
    const Index index = begin / block, length = std::min(block, row.n - begin);
    const auto factor = [&](const RunningShift<T>& shift, double weight) {
      return Batch<T>(static_cast<T>(static_cast<double>(shift.factor(index, setting.inverse)) * weight));
    };
    const Batch<T> of_s = factor(row.shift_s, rule.of_q / row.zs),
                   of_t = factor(row.shift_t, rule.of_p / row.zt);
    Batch<T> term(T{0}), by_q(T{0}), by_p(T{0});
    walk<T, rule_step>(
        length, [&]<int K>(Index i, Index count) __attribute__((always_inline)) {
          Classes<T, K> c;
          c.q = load_each<K>(row.es + begin + i, count, T{0});
          c.p = load_each<K>(row.et + begin + i, count, T{0});
          for (int k = 0; k < K; ++k) {
            c.q[k] = c.q[k] * of_s;
            c.p[k] = c.p[k] * of_t;
          }
          if constexpr (Rule::needs_logs) {
            c.log_q = load_each<K>(row.s + begin + i, count, T{0});
            c.log_p = load_each<K>(row.t + begin + i, count, T{0});
            for (int k = 0; k < K; ++k) {
              c.log_q[k] = fma<T>(c.log_q[k] - max_s, inverse, -log_zs);
              c.log_p[k] = fma<T>(c.log_p[k] - max_t, inverse, -log_zt);
            }
          }
          rule(c);
          for (int k = 0; k < K; ++k) {
            term += c.term[k];
            by_q += c.by_q[k];
            if constexpr (for_teacher) by_p += c.by_p[k];
          }
          store_each<T>(w + begin + i, c.by_q, count);
          if constexpr (for_teacher) store_each<T>(v + begin + i, c.by_p, count);
        });
    total.term += static_cast<double>(sum_lanes<T>(term));
    total.by_q += static_cast<double>(sum_lanes<T>(by_q));
    total.by_p += static_cast<double>(sum_lanes<T>(by_p));
  }
  return total;
}

/// Calls f with the rule of the setting's divergence.
template <class T, class F>
auto with_rule(const Setting<T>& setting, F f) {
  const double beta = setting.call.beta, rest = 1 - beta;
  switch (setting.divergence) {
    case Divergence::reverse_kl: return f(ReverseKL<T>{});
    case Divergence::jensen_shannon: return f(JensenShannon<T>{beta, rest});
    case Divergence::skew_kl: return f(SkewKL<T, false>(beta, rest));
    case Divergence::skew_reverse_kl: return f(SkewKL<T, true>(beta, rest));
    default: return f(TotalVariation<T>{});
  }
}

template <class T>
RuleSums apply_rule(const Setting<T>& setting, const LongRow<T>& row, T* w, T* v) {
  return with_rule(setting, [&](const auto& rule) {
    return v != nullptr ? apply_rule<true>(setting, row, rule, w, v)
                        : apply_rule<false>(setting, row, rule, w, v);
  });
}

/// Sets w to s - t, 0 for a class that is -infinity in both. Returns the sum of squares and the number of
/// included classes.
template <class T>
std::array<double, 2> differences(const T* s, const T* t, T* w, Index n) {
  const Batch<T> zero(T{0}), one(T{1}), absent(-infinity<T>);
  const double squares = row_sum<T, 2>(n, [&]<int K>(Index i, Index count) {
    auto v = load_each<K>(s + i, count, T{0});
    const auto other = load_each<K>(t + i, count, T{0});
    for (int k = 0; k < K; ++k) v[k] = select((v[k] == absent) & (other[k] == absent), zero, v[k] - other[k]);
    store_each<T>(w + i, v, count);
    for (int k = 0; k < K; ++k) v[k] = v[k] * v[k];
    return v;
  });
  Index present = n;
  for (Index i = 0; i < n; ++i) present -= s[i] == -infinity<T> && t[i] == -infinity<T>;
  return {squares, static_cast<double>(present)};
}

}  // namespace retort::kernels
