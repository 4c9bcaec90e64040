#include "retort/framework/kernels/distillation.hpp"

#include <cmath>
#include <limits>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {
namespace {

// Of one row: s and t are the logits less their maxima, zs the sum of exp(s/T), zt that of exp(t/T), z1 that of
// exp(s), x = sum(exp(t/T)·(t - s)). Then
//   KL = x/(T·zt) + log zs - log zt,   q = exp(s/T)/zs,   p = exp(t/T)/zt
// and of T²·KL the gradients are T·(q - p) for s and T·p·((t - s)/T + log zs - log zt - KL) for t.

/// sum + e·(t - s); a class that the teacher does not have takes no part, whatever the student says.
template <class T>
inline Batch<T> add_cross_term(const Batch<T>& sum, const Batch<T>& e, const Batch<T>& t, const Batch<T>& s) {
  const Batch<T> zero(T{0});
  return fma<T>(e, select(e == zero, zero, t - s), sum);
}

/// How exp(s) comes from e = exp(s/T): not at all where T = 1 or cross-entropy has no weight, as a
/// power where T is a small integer, else by an exponential of its own.
enum class Second { none, square, cube, fourth, exponential };

template <class T>
inline Batch<T> power(Second second, const Batch<T>& e) {
  const Batch<T> square = e * e;
  return second == Second::square ? square : second == Second::cube ? square * e : square * square;
}

/// What all rows of a call share.
template <class T>
struct Setting {
  explicit Setting(const DistillationRows<T>& of)
      : call(of),
        kl(of.alpha > 0),
        ce(of.alpha < 1),
        temperature(kl ? of.temperature : 1),
        inverse(static_cast<T>(1 / temperature)),
        kl_weight(of.alpha * temperature),
        ce_weight(1 - of.alpha),
        exponential(1 / temperature),
        streamed(of.rows * of.classes * static_cast<std::int64_t>(sizeof(T)) >= streamed_bytes &&
                 of.student_gradient != of.student),
        flushes(of.teacher_gradient == nullptr) {
    if (ce && temperature != 1)
      second = temperature == 2   ? Second::square
               : temperature == 3 ? Second::cube
               : temperature == 4 ? Second::fourth
                                  : Second::exponential;
  }
  bool in(std::int64_t row) const { return call.mask == nullptr || call.mask[row] != 0; }
  double upstream(std::int64_t row) const {
    return in(row) ? call.scale * (call.g == nullptr ? 1 : static_cast<double>(call.g[row])) : 0;
  }

  const DistillationRows<T>& call;
  bool kl, ce;
  double temperature;
  T inverse;
  double kl_weight, ce_weight;  // of the two terms' gradients
  ScaledExp<T> exponential;     // exp(x/T)
  bool streamed;
  bool flushes;  // the teacher's gradient has factors that make much of little
  Second second = Second::none;
};

// ---- Long rows: one visit, block by block. The exponentials wait in scratch for their sums.

template <class T>
struct LongRow {
  // Not an aggregate: initialising one would zero the shifts, two thousand bytes a row.
  LongRow(const T* student, const T* teacher, std::int64_t classes) : s(student), t(teacher), n(classes) {}

  const T *s, *t;
  std::int64_t n;
  T *es = nullptr, *et = nullptr, *e1 = nullptr;  // exponentials to keep, or null
  RunningShift<T> shift_s, shift_t;
  double zs = 0, zt = 0, z1 = 0, x = 0;

  void visit(const Setting<T>& setting);
};

/// Sets the sums, and the exponentials relative to the shift of their block.
template <class T>
void LongRow<T>::visit(const Setting<T>& setting) {
  const Second second = setting.second;
  const bool kl = setting.kl;
  const std::int64_t block = RunningShift<T>::block_of(n);
  zs = zt = z1 = x = 0;
  for (std::int64_t begin = 0; begin < n; begin += block) {
    const std::int64_t index = begin / block, length = std::min(block, n - begin);
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
    walk<T, 2>(
        length, [&]<int K>(std::int64_t i, std::int64_t count) __attribute__((always_inline)) {
          auto student = load_each<K>(from_s + i, count, -infinity<T>);
          prefetch_each<K>(from_s + i + ahead);
          for (Batch<T>& one : student) one = one - by_s;
          std::array<Batch<T>, 2 * K> e;
          std::copy_n(student.begin(), K, e.begin());
          if (kl) {
            auto teacher = load_each<K>(from_t + i, count, -infinity<T>);
            prefetch_each<K>(from_t + i + ahead);
            for (int k = 0; k < K; ++k) e[K + k] = teacher[k] = teacher[k] - by_t;
            setting.exponential(e);
            for (int k = 0; k < K; ++k) {
              sum_t += e[K + k];
              sum_x = add_cross_term<T>(sum_x, e[K + k], teacher[k], student[k]);
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

template <class T>
void long_row(const Setting<T>& setting, std::int64_t at) {
  const DistillationRows<T>& call = setting.call;
  const std::int64_t n = call.classes, room = (n + 63) / 64 * 64;
  const bool kl = setting.kl, ce = setting.ce;
  T* const gs = call.student_gradient == nullptr ? nullptr : call.student_gradient + at * n;
  T* const gt = call.teacher_gradient == nullptr ? nullptr : call.teacher_gradient + at * n;
  if (gt != nullptr && !(kl && setting.in(at))) std::fill_n(gt, n, T{0});
  if (!setting.in(at)) {
    if (call.loss != nullptr) call.loss[at] = 0;
    if (gs != nullptr) std::fill_n(gs, n, T{0});
    return;
  }
  LongRow<T> row(call.student + at * n, kl ? call.teacher + at * n : nullptr, n);
  if (gs != nullptr || gt != nullptr) {
    row.es = scratch<T>(3 * room);
    row.et = row.es + room;
    row.e1 = row.et + room;
  }
  row.visit(setting);
  if (kl && n > RunningShift<T>::block_of(n) && !std::isfinite(row.x)) {
    // Perhaps only relative to an early shift: a class that the student lacks and the teacher nearly does.
    row.shift_s.expect(row_max(row.s, n));
    row.shift_t.expect(row_max(row.t, n));
    row.visit(setting);
  }
  const T max_s = row.shift_s.greatest(), max_t = row.shift_t.greatest();
  const bool own = setting.second != Second::none;
  const auto logs = log_four({row.zs, kl ? row.zt : 1, own ? row.z1 : row.zs, 1});
  const double log_s = logs[0], log_t = logs[1], log_1 = logs[2];
  const double divergence = kl ? row.x / (row.zt * setting.temperature) + log_s - log_t : 0;
  double loss = kl ? setting.kl_weight * setting.temperature * divergence : 0;
  if (ce) loss += setting.ce_weight * (log_1 - static_cast<double>(row.s[call.labels[at]] - max_s));
  if (call.loss != nullptr) call.loss[at] = static_cast<T>(loss);

  const double upstream = setting.upstream(at);
  const double of_s =
      upstream * ((kl ? setting.kl_weight / row.zs : 0) + (ce && !own ? setting.ce_weight / row.zs : 0));
  const double of_t = kl ? upstream * setting.kl_weight / row.zt : 0,
               of_1 = own ? upstream * setting.ce_weight / row.z1 : 0;
  const std::int64_t block = RunningShift<T>::block_of(n);
  for (std::int64_t begin = 0; begin < n && (gs != nullptr || gt != nullptr); begin += block) {
    const std::int64_t index = begin / block, length = std::min(block, n - begin);
    const T *es = row.es + begin, *et = row.et + begin, *e1 = row.e1 + begin;
    const double down_t = kl ? static_cast<double>(row.shift_t.factor(index, setting.inverse)) : 0;
    if (gs != nullptr) {
      const Batch<T> a(
          static_cast<T>(of_s * static_cast<double>(row.shift_s.factor(index, setting.inverse))));
      const Batch<T> b(static_cast<T>(-of_t * down_t));
      const Batch<T> c(static_cast<T>(own ? of_1 * static_cast<double>(row.shift_s.factor(index, T{1})) : 0));
      fill_row<T, 2>(gs + begin, length, setting.streamed, [&]<int K>(std::int64_t i, std::int64_t count) {
        const auto student = load_each<K>(es + i, count, T{0});
        std::array<Batch<T>, K> v;
        for (int k = 0; k < K; ++k) v[k] = a * student[k];
        if (kl) {
          const auto teacher = load_each<K>(et + i, count, T{0});
          for (int k = 0; k < K; ++k) v[k] = fma<T>(b, teacher[k], v[k]);
        }
        if (setting.second == Second::exponential) {
          const auto plain = load_each<K>(e1 + i, count, T{0});
          for (int k = 0; k < K; ++k) v[k] = fma<T>(c, plain[k], v[k]);
        } else if (own) {
          for (int k = 0; k < K; ++k) v[k] = fma<T>(c, power<T>(setting.second, student[k]), v[k]);
        }
        return v;
      });
    }
    if (gt != nullptr && kl) {
      const Batch<T> factor(static_cast<T>(of_t * down_t)), rest(static_cast<T>(log_s - log_t - divergence));
      const Batch<T> inverse(setting.inverse), zero(T{0}), by_s(max_s), by_t(max_t);
      // A class without probability gets 0, unless NaN or +inf in the teacher's row makes all of it NaN.
      const Batch<T> absent(std::isnan(row.zt) ? std::numeric_limits<T>::quiet_NaN() : T{0});
      fill_row<T, 2>(gt + begin, length, setting.streamed, [&]<int K>(std::int64_t i, std::int64_t count) {
        auto v = load_each<K>(et + i, count, T{0});
        const auto logit_s = load_each<K>(row.s + begin + i, count, T{0});
        const auto logit_t = load_each<K>(row.t + begin + i, count, T{0});
        for (int k = 0; k < K; ++k) {
          const Batch<T> p = factor * v[k], apart = ((logit_t[k] - by_t) - (logit_s[k] - by_s)) * inverse;
          v[k] = select(v[k] == zero, absent, p * (apart + rest));
        }
        return v;
      });
    }
  }
  if (gs != nullptr && ce) gs[call.labels[at]] -= static_cast<T>(upstream * setting.ce_weight);
}

// ---- Short rows: a register of them at a time, a lane each, in [classes][lanes].

template <bool kl, class T>
void short_rows(const Setting<T>& setting, std::int64_t first) {
  constexpr std::int64_t width = lanes<T>;
  using Turned = T[short_row * width];
  const DistillationRows<T>& call = setting.call;
  const std::int64_t n = call.classes, count = std::min(width, call.rows - first);
  const bool ce = setting.ce, own = setting.second != Second::none;
  alignas(64) Turned s, t, es, et, e1;
  turn_in(call.student + first * n, n, count, s);
  if (kl) turn_in(call.teacher + first * n, n, count, t);
  alignas(64) T upstream[width] = {}, label_logit[width] = {};
  for (std::int64_t r = 0; r < count; ++r) {
    if (!setting.in(first + r))  // zeros in the place of what may be anything
      for (std::int64_t j = 0; j < n; ++j) s[j * width + r] = t[j * width + r] = T{0};
    else if (ce)
      label_logit[r] = s[call.labels[first + r] * width + r];
    upstream[r] = static_cast<T>(setting.upstream(first + r));
  }
  Batch<T> max_s(-infinity<T>), max_t(-infinity<T>);
  for (std::int64_t j = 0; j < n; ++j) {
    max_s = max_of<T>(load(s + j * width), max_s);
    if (kl) max_t = max_of<T>(load(t + j * width), max_t);
  }
  const Batch<T> inverse(setting.inverse), zero(T{0});
  Batch<T> zs(zero), zt(zero), z1(zero), x(zero);
  const auto step = [&]<int K>(std::int64_t j) {
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
      if (setting.second == Second::exponential)
        exp_each_below_0<T>(student);
      else
        for (int k = 0; k < K; ++k) student[k] = power<T>(setting.second, e[k]);
      for (int k = 0; k < K; ++k) {
        z1 += student[k];
        store<T>(e1 + (j + k) * width, student[k]);
      }
    }
  };
  std::int64_t next = 0;
  for (; next + 2 <= n; next += 2) step.template operator()<2>(next);
  if (next < n) step.template operator()<1>(next);

  std::array<Batch<T>, 3> logs{zs, zt, own ? z1 : zs};
  log_each<T>(logs);
  const Batch<T> divergence = kl ? x * inverse / zt + (logs[0] - logs[1]) : zero;
  Batch<T> loss = kl ? divergence * Batch<T>(static_cast<T>(setting.kl_weight * setting.temperature)) : zero;
  if (ce) loss += (logs[2] - (load(label_logit) - max_s)) * Batch<T>(static_cast<T>(setting.ce_weight));
  if (call.loss != nullptr) {
    store_lanes(call.loss + first, loss, count);
    for (std::int64_t r = 0; r < count; ++r)
      if (!setting.in(first + r)) call.loss[first + r] = T{0};
  }

  const Batch<T> g = load(upstream), one(T{1});
  const Batch<T> kl_weight(static_cast<T>(kl ? setting.kl_weight : 0)),
      ce_weight(static_cast<T>(ce ? setting.ce_weight : 0));
  const Batch<T> a = g * (own ? kl_weight : kl_weight + ce_weight) / zs, b = kl ? g * kl_weight / zt : zero;
  if (call.student_gradient != nullptr) {
    alignas(64) Turned gradient;
    const Batch<T> c = own ? g * ce_weight / z1 : zero;
    for (std::int64_t j = 0; j < n; ++j) {
      Batch<T> v = a * load(es + j * width);
      if (kl) v = fma<T>(-b, load(et + j * width), v);
      if (own) v = fma<T>(c, load(e1 + j * width), v);
      store<T>(gradient + j * width, v);
    }
    for (std::int64_t r = 0; r < count && ce; ++r)
      if (setting.in(first + r))
        gradient[call.labels[first + r] * width + r] -= upstream[r] * static_cast<T>(setting.ce_weight);
    turn_out(gradient, n, count, call.student_gradient + first * n);
  }
  if (call.teacher_gradient != nullptr) {
    alignas(64) Turned gradient;
    const Batch<T> rest = (logs[0] - logs[1]) - divergence;
    const Batch<T> absent = select(zt == zt, zero, zt);  // NaN or +inf in the teacher's row: NaN everywhere
    for (std::int64_t j = 0; j < n; ++j) {
      const Batch<T> e = load(et + j * width);
      const Batch<T> apart =
          kl ? ((load(t + j * width) - max_t) - (load(s + j * width) - max_s)) * inverse : zero;
      store<T>(gradient + j * width, kl ? select(e == zero, absent, b * e * (apart + rest)) : zero);
    }
    turn_out(gradient, n, count, call.teacher_gradient + first * n);
  }
}

}  // namespace

template <class T>
void distillation_rows(const DistillationRows<T>& call) {
  const Setting<T> setting(call);
  if (call.classes <= short_row) {
    const std::int64_t groups = (call.rows + lanes<T> - 1) / lanes<T>;
    parallel_for(groups, rows_at_a_time(2 * call.classes * lanes<T>),
                 [&](std::int64_t begin, std::int64_t end) {
                   const FlushToZero flush(setting.flushes);
                   for (std::int64_t i = begin; i < end; ++i) {
                     if (setting.kl)
                       short_rows<true>(setting, i * lanes<T>);
                     else
                       short_rows<false>(setting, i * lanes<T>);
                   }
                 });
  } else {
    parallel_for(call.rows, rows_at_a_time(2 * call.classes), [&](std::int64_t begin, std::int64_t end) {
      const FlushToZero flush(setting.flushes);
      for (std::int64_t row = begin; row < end; ++row) long_row(setting, row);
      if (setting.streamed) finish_stores();
    });
  }
}

template void distillation_rows(const DistillationRows<float>&);
template void distillation_rows(const DistillationRows<double>&);

}  // namespace retort::kernels
