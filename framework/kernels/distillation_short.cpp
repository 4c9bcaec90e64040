// Distillation losses of short rows: a register of rows at a time, one per lane, in [classes][lanes].
#include <limits>
#include <optional>

#include "retort/framework/kernels/distillation_impl.hpp"

namespace retort::kernels {
namespace {

template <class T>
using Transposed = T[short_row * lanes<T>];

/// RuleSums for a register of rows.
template <class T>
struct ShortSums {
  Batch<T> term = Batch<T>(T{0}), by_q = Batch<T>(T{0}), by_p = Batch<T>(T{0});
  double slope = 0;
};

/// A register of rows after the first pass: logits, their maxima, exponentials, and the sums of these with
/// their logarithms.
template <class T>
struct ShortRows {
  const T *s, *t, *es, *et;
  Batch<T> max_s, max_t, zs, zt, log_zs, log_zt, inverse;

  /// apply_rule() for these rows.
  template <class Rule, bool for_teacher>
  [[gnu::always_inline]] ShortSums<T> apply(Index n, double beta, T* w, T* v) const {
    const Batch<T> one(T{1}), of_q = one / zs, of_p = one / zt;
    const Rule rule(beta, {of_q, of_p, zs, log_zt - log_zs, inverse});
    BlockSums<T> sums;
    const auto step = [&]<int K>(Index j) __attribute__((always_inline)) {
      Classes<T, K> c;
      for (int k = 0; k < K; ++k) {
        const Index at = (j + k) * lanes<T>;
        c.q[k] = load(es + at);
        c.p[k] = load(et + at);
        if constexpr (Rule::needs_logits) {
          c.s[k] = max_s - load(s + at);
          c.t[k] = max_t - load(t + at);
        }
      }
      rule.template operator()<for_teacher, true>(c, sums);
      for (int k = 0; k < K; ++k) {
        const Index at = (j + k) * lanes<T>;
        sums.by_q = fma<T>(c.q[k], c.by_q[k], sums.by_q);
        store<T>(w + at, c.by_q[k]);
        if constexpr (for_teacher) {
          sums.by_p += c.by_p[k];
          store<T>(v + at, c.by_p[k]);
        }
      }
    };
    Index j = 0;
    for (; j + 2 <= n; j += 2) step.template operator()<2>(j);
    if (j < n) step.template operator()<1>(j);
    const Batch<T> nan_if_any = Batch<T>(T{0}) * (zs + zt);  // maxima ignore NaN
    const Batch<T> constant = Batch<T>(static_cast<T>(Rule::constant(beta))) * (log_zt - log_zs);
    const double slope = Rule::slope(beta);
    return {(rule.divergence(sums) + constant) + nan_if_any,
            fma<T>(Batch<T>(static_cast<T>(slope)) * of_q, sums.by_q, nan_if_any), sums.by_p + nan_if_any,
            slope};
  }
};

template <class T>
ShortSums<T> apply_rule(const Setting<T>& setting, const ShortRows<T>& rows, T* w, T* v) {
  const Index n = setting.call.classes;
  const double beta = setting.call.beta;
  return with_rule(setting, [&]<class Rule>() {
    return setting.call.teacher_gradient != nullptr ? rows.template apply<Rule, true>(n, beta, w, v)
                                                    : rows.template apply<Rule, false>(n, beta, w, v);
  });
}

/// differences() for a register of rows; `term` is the mean square and `by_q` the number of classes.
template <class T>
ShortSums<T> differences(Index n, const T* s, const T* t, T* w) {
  const Batch<T> zero(T{0}), one(T{1}), absent(-infinity<T>);
  ShortSums<T> sums;
  for (Index j = 0; j < n * lanes<T>; j += lanes<T>) {
    const Batch<T> a = load(s + j), b = load(t + j);
    const auto none = (a == absent) & (b == absent);
    const Batch<T> apart = select(none, zero, a - b);
    store<T>(w + j, apart);
    sums.term = fma<T>(apart, apart, sums.term);
    sums.by_q += select(none, zero, one);
  }
  sums.term = sums.term / sums.by_q;
  return sums;
}

/// Standardized for a register of rows: y = (x - mean) / (std + 1e-7), where x is overwritten with y.
template <class T>
class ShortStandardized {
 public:
  ShortStandardized(T* x, Index n) : y_(x), n_(n * lanes<T>) {
    const Batch<T> zero(T{0}), one(T{1}), absent(-infinity<T>);
    Moments moments = moments_of(x, n_);
    Batch<T> unit(one);
    const auto fits = moments.squares <= Batch<T>(std::numeric_limits<T>::max());
    if (!xsimd::all(fits)) {
      unit = select(fits, one, Batch<T>(downscale<T>));
      moments = downscaled(x, n_, unit);
    }
    const auto [count, mean, sum, sum_of_squares] = moments;
    count_ = count;
    const Batch<T> rest = sum / count;  // corrects for the rounding of the mean
    const Batch<T> squares = max_of<T>(sum_of_squares - count * rest * rest, zero);
    const Batch<T> degrees = max_of<T>(count_ - one, one), deviation = xsimd::sqrt(squares / degrees),
                   scale = one / (deviation + unit * Batch<T>(T(1e-7)));
    scale_ = unit * scale;
    slope_ = select(deviation == zero, zero, unit / (degrees * deviation));
    for (Index j = 0; j < n_; j += lanes<T>) {
      const Batch<T> v = load(x + j);
      store<T>(x + j, select(v == absent, absent, ((v - mean) - rest) * scale));
    }
  }
  /// Converts the gradient of y to that of x, in place.
  void pull_back(T* g) const {
    const Batch<T> zero(T{0}), absent(-infinity<T>);
    Batch<T> sum(zero), dot(zero);
    for (Index j = 0; j < n_; j += lanes<T>) {
      const Batch<T> v = load(y_ + j), w = load(g + j);
      sum += select(v == absent, zero, w);
      dot += select(v == absent, zero, v * w);
    }
    const Batch<T> mean = sum / count_, slope = dot * slope_;
    for (Index j = 0; j < n_; j += lanes<T>) {
      const Batch<T> v = load(y_ + j), w = load(g + j);
      store<T>(g + j, select(v == absent, zero, fma<T>(-slope, v, (w - mean) * scale_)));
    }
  }

 private:
  struct Moments {
    Batch<T> count, mean, rest, squares;  // rest and squares: sums of v - mean and of its squares
  };
  [[gnu::always_inline]] static Moments moments_of(const T* x, Index n) {
    const Batch<T> zero(T{0}), one(T{1}), absent(-infinity<T>);
    Batch<T> sum(zero), count(zero), rest(zero), squares(zero);
    for (Index j = 0; j < n; j += lanes<T>) {
      const Batch<T> v = load(x + j);
      sum += select(v == absent, zero, v);
      count += select(v == absent, zero, one);
    }
    const Batch<T> mean = sum / count;
    for (Index j = 0; j < n; j += lanes<T>) {
      const Batch<T> v = load(x + j), apart = select(v == absent, zero, v - mean);
      rest += apart;
      squares = fma<T>(apart, apart, squares);
    }
    return {count, mean, rest, squares};
  }
  /// Multiplies the lanes of x by `unit` first.
  [[gnu::noinline]] static Moments downscaled(T* x, Index n, const Batch<T>& unit) {
    for (Index j = 0; j < n; j += lanes<T>) store<T>(x + j, load(x + j) * unit);
    return moments_of(x, n);
  }

  const T* y_;
  Index n_;
  Batch<T> count_, scale_, slope_;
};

template <bool kl, bool standardize, class T>
void short_rows(const Setting<T>& setting, Index first) {
  constexpr Index width = lanes<T>;
  const DistillationRows<T>& call = setting.call;
  const Index n = call.classes, count = std::min(width, call.rows - first);
  const bool ce = setting.ce, mse = setting.mse, own = setting.second != Second::none;
  const bool forward = setting.divergence == Divergence::forward_kl;
  alignas(64) Transposed<T> s, t, es, et, e1, w, v;  // w and v: a rule's values for q and p
  alignas(64) T raw[standardize ? short_row * width : 1];
  transpose_in(call.student + first * n, n, count, s);
  if (kl || mse) transpose_in(call.teacher + first * n, n, count, t);
  alignas(64) T upstream[width] = {}, label_logit[width] = {};
  for (Index r = 0; r < count; ++r) {
    if (!setting.in(first + r))  // zeros replace the arbitrary values of excluded rows
      for (Index j = 0; j < n; ++j) s[j * width + r] = t[j * width + r] = T{0};
    else if (ce)
      label_logit[r] = s[call.labels[first + r] * width + r];
    upstream[r] = static_cast<T>(setting.upstream(first + r));
  }
  Batch<T> max_raw(-infinity<T>);  // of the logits of the cross-entropy if these are not s
  std::optional<ShortStandardized<T>> of_s, of_t;
  if constexpr (standardize) {
    for (Index j = 0; j < n * width && ce; j += width) {
      store<T>(raw + j, load(s + j));
      max_raw = max_of<T>(load(s + j), max_raw);
    }
    of_s.emplace(s, n);
    of_t.emplace(t, n);
  }
  Batch<T> max_s(-infinity<T>), max_t(-infinity<T>);
  for (Index j = 0; j < n; ++j) {
    max_s = max_of<T>(load(s + j * width), max_s);
    if (kl) max_t = max_of<T>(load(t + j * width), max_t);
  }
  const Batch<T> inverse(setting.inverse), zero(T{0});
  Batch<T> zs(zero), zt(zero), z1(zero), x(zero);
  const auto step = [&]<int K>(Index j) {
    std::array<Batch<T>, K> student, teacher;
    std::array<Batch<T>, kl ? 2 * K : K> e;
    for (int k = 0; k < K; ++k) {
      e[k] = student[k] = load(s + (j + k) * width) - max_s;
      if constexpr (kl) e[K + k] = teacher[k] = load(t + (j + k) * width) - max_t;
    }
    setting.exponential(e);
    for (int k = 0; k < K; ++k) {
      zs += e[k];
      store<T>(es + (j + k) * width, e[k]);
      if constexpr (kl) {
        zt += e[K + k];
        x = add_cross_term<T>(x, e[K + k], teacher[k], student[k]);
        store<T>(et + (j + k) * width, e[K + k]);
      }
    }
    if (own) {
      if (setting.second == Second::exponential) {
        if constexpr (standardize)
          for (int k = 0; k < K; ++k) student[k] = load(raw + (j + k) * width) - max_raw;
        exp_each_below_0<T>(student);
      } else {
        for (int k = 0; k < K; ++k) student[k] = power<T>(setting.second, e[k]);
      }
      for (int k = 0; k < K; ++k) {
        z1 += student[k];
        store<T>(e1 + (j + k) * width, student[k]);
      }
    }
  };
  Index next = 0;
  for (; next + 2 <= n; next += 2) step.template operator()<2>(next);
  if (next < n) step.template operator()<1>(next);

  std::array<Batch<T>, 3> logs{zs, zt, own ? z1 : zs};
  log_each<T>(logs);
  ShortSums<T> sums;  // of the divergence
  if (kl && forward)
    sums.term = x * inverse / zt + (logs[0] - logs[1]);
  else if (kl)
    sums = apply_rule<T>(setting, {s, t, es, et, max_s, max_t, zs, zt, logs[0], logs[1], inverse}, w, v);
  else if (mse)
    sums = differences<T>(n, s, t, w);
  Batch<T> loss = kl || mse ? sums.term * Batch<T>(static_cast<T>(setting.kl_loss)) : zero;
  if (ce)
    loss += (logs[2] - (load(label_logit) - (standardize ? max_raw : max_s))) *
            Batch<T>(static_cast<T>(setting.ce_weight));
  if (call.loss != nullptr) {
    store_lanes(call.loss + first, loss, count);
    for (Index r = 0; r < count; ++r)
      if (!setting.in(first + r)) call.loss[first + r] = T{0};
  }

  const Batch<T> g = load(upstream), one(T{1});
  const Batch<T> kl_weight(static_cast<T>(kl ? setting.kl_weight : 0)),
      ce_weight(static_cast<T>(ce ? setting.ce_weight : 0));
  const Batch<T> of_kl = forward ? kl_weight : -kl_weight * sums.by_q;
  const Batch<T> a = g * (own ? of_kl : of_kl + ce_weight) / zs, b = kl ? g * kl_weight / zt : zero;
  // The factor of exp(t/T), or of the values of a rule or of differences().
  const Batch<T> of_other = kl    ? (forward ? -b : g * kl_weight * Batch<T>(static_cast<T>(sums.slope)) / zs)
                            : mse ? g * Batch<T>(static_cast<T>(2 * setting.kl_loss)) / sums.by_q
                                  : zero;
  if (call.student_gradient != nullptr) {
    alignas(64) Transposed<T> gradient;
    const Batch<T> c = own ? g * ce_weight / z1 : zero;
    for (Index j = 0; j < n; ++j) {
      Batch<T> value = zero;
      if (kl && !forward)
        value = load(es + j * width) * fma<T>(of_other, load(w + j * width), a);
      else if (kl || ce)
        value = a * load(es + j * width);
      if (mse || (kl && forward)) value = fma<T>(of_other, load((mse ? w : et) + j * width), value);
      if (own && !standardize) value = fma<T>(c, load(e1 + j * width), value);
      store<T>(gradient + j * width, value);
    }
    if constexpr (standardize) {
      of_s->pull_back(gradient);
      for (Index j = 0; j < n * width && own; j += width)
        store<T>(gradient + j, fma<T>(c, load(e1 + j), load(gradient + j)));
    }
    for (Index r = 0; r < count && ce; ++r)
      if (setting.in(first + r))
        gradient[call.labels[first + r] * width + r] -= upstream[r] * static_cast<T>(setting.ce_weight);
    transpose_out(gradient, n, count, call.student_gradient + first * n);
  }
  if (call.teacher_gradient != nullptr) {
    alignas(64) Transposed<T> gradient;
    const Batch<T> rest = (logs[0] - logs[1]) - sums.term, of_p = -b * sums.by_p, of_rule = g * kl_weight;
    // NaN or +inf in the teacher's row makes the whole row NaN.
    const Batch<T> absent = select(zt == zt, zero, zt);
    for (Index j = 0; j < n; ++j) {
      if (mse || (kl && !forward)) {
        store<T>(gradient + j * width,
                 mse ? -of_other * load(w + j * width)
                     : fma<T>(of_p, load(et + j * width), of_rule * load(v + j * width)));
        continue;
      }
      const Batch<T> e = load(et + j * width);
      const Batch<T> apart =
          kl ? ((load(t + j * width) - max_t) - (load(s + j * width) - max_s)) * inverse : zero;
      store<T>(gradient + j * width, kl ? select(e == zero, absent, b * e * (apart + rest)) : zero);
    }
    if constexpr (standardize) of_t->pull_back(gradient);
    transpose_out(gradient, n, count, call.teacher_gradient + first * n);
  }
}

}  // namespace

template <class T>
void short_distillation_rows(const Setting<T>& setting, Index begin, Index end) {
  const auto compute = [&]<bool kl, bool standardize>() {
    for (Index i = begin; i < end; ++i) short_rows<kl, standardize>(setting, i * lanes<T>);
  };
  if (setting.standardize)
    setting.kl ? compute.template operator()<true, true>() : compute.template operator()<false, true>();
  else
    setting.kl ? compute.template operator()<true, false>() : compute.template operator()<false, false>();
}

template void short_distillation_rows(const Setting<float>&, Index, Index);
template void short_distillation_rows(const Setting<double>&, Index, Index);

}  // namespace retort::kernels
