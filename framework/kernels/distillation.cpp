#include "retort/framework/kernels/distillation.hpp"

#include <cmath>
#include <limits>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/distillation_impl.hpp"

namespace retort::kernels {
namespace {

/// One row of a call: its logits, the destinations of its gradients (or null), and the gradient of its loss.
template <class T>
struct Place {
  const T *s, *t;
  T *gs, *gt;
  Index label;
  double upstream;
};

/// Writes the gradients of a row and returns its loss.
template <class T>
double long_row(const Setting<T>& setting, const Place<T>& at) {
  const Index n = setting.call.classes, room = (n + 63) / 64 * 64, block = RunningShift<T>::block_of(n);
  const bool kl = setting.kl, mse = setting.mse, ce = setting.ce;
  const bool forward = setting.divergence == Divergence::forward_kl;
  LongRow<T> row(at.s, kl ? at.t : nullptr, n);
  T *w = nullptr, *v = nullptr;  // a rule's values for q and p, or the differences of logits
  if (at.gs != nullptr || at.gt != nullptr || mse || !forward) {
    row.es = scratch<T>(5 * room);
    row.et = row.es + room;
    row.e1 = row.et + room;
    v = at.gt != nullptr ? row.e1 + room : nullptr;
    w = at.gt != nullptr ? row.e1 + 2 * room : row.et;
  }
  if (kl && forward)
    row.template visit<true, true>(setting);
  else if (kl)
    row.template visit<true, false>(setting);
  else if (ce)
    row.template visit<false, false>(setting);
  const bool own = setting.second != Second::none;
  const double log_s = kl || ce ? std::log(row.zs) : 0, log_t = kl ? std::log(row.zt) : 0,
               log_1 = own ? std::log(row.z1) : log_s;
  RuleSums sums;  // of the divergence
  double loss = 0, of_squares = 0;
  if (kl && forward)
    sums.term = row.x / (row.zt * setting.temperature) + log_s - log_t;
  else if (kl)
    sums = apply_rule(setting, row, log_t - log_s, w, v, at.gs != nullptr ? at.gs : at.gt);
  if (kl) loss = setting.kl_loss * sums.term;
  if (mse) {
    const auto [squares, present] = differences(at.s, at.t, w, n);
    loss = setting.kl_loss * squares / present;
    of_squares = 2 * setting.kl_loss / present;
  }
  if (ce) loss += setting.ce_weight * (log_1 - static_cast<double>(at.s[at.label] - row.shift_s.greatest()));

  // The student's gradient is a·exp(s/T) + c·exp(s) - (1 at the label), plus b·exp(t/T), b·exp(s/T) times the
  // rule's values, or b times the differences of logits.
  const double weight = at.upstream * setting.kl_weight;
  const double of_s = at.upstream * ((kl ? setting.kl_weight * (forward ? 1 : -sums.by_q) / row.zs : 0) +
                                     (ce && !own ? setting.ce_weight / row.zs : 0));
  const double of_t = kl ? weight / row.zt : 0, of_1 = own ? at.upstream * setting.ce_weight / row.z1 : 0;
  const double of_w = mse ? at.upstream * of_squares : kl ? weight * sums.slope / row.zs : 0;
  for (Index begin = 0; begin < n && (at.gs != nullptr || at.gt != nullptr); begin += block) {
    const Index index = begin / block, length = std::min(block, n - begin);
    const T *es = row.es + begin, *et = row.et + begin, *e1 = row.e1 + begin;
    const double down_t = kl ? static_cast<double>(row.shift_t.factor(index, setting.inverse)) : 0;
    const auto down_s = [&](T scale) { return static_cast<double>(row.shift_s.factor(index, scale)); };
    if (at.gs != nullptr) {
      const T* const other = forward && kl ? et : kl || mse ? w + begin : nullptr;
      const bool exponentials = kl || ce;
      const Batch<T> a(static_cast<T>(exponentials ? of_s * down_s(setting.inverse) : 0));
      const Batch<T> b(static_cast<T>(forward ? -of_t * down_t : kl ? of_w * down_s(setting.inverse) : of_w));
      const Batch<T> c(static_cast<T>(own ? of_1 * down_s(T{1}) : 0));
      fill_row<T, 2>(at.gs + begin, length, setting.far, [&]<int K>(Index i, Index count) {
        std::array<Batch<T>, K> student, result;
        if (exponentials) {
          student = load_each<K>(es + i, count, T{0});
          if (kl && !forward) {
            const auto values = load_each<K>(other + i, count, T{0});
            for (int k = 0; k < K; ++k) result[k] = student[k] * fma<T>(b, values[k], a);
          } else {
            for (int k = 0; k < K; ++k) result[k] = a * student[k];
          }
        } else {
          result.fill(Batch<T>(T{0}));
        }
        if (other != nullptr && (forward || mse)) {
          const auto values = load_each<K>(other + i, count, T{0});
          for (int k = 0; k < K; ++k) result[k] = fma<T>(b, values[k], result[k]);
        }
        if (setting.second == Second::exponential) {
          const auto plain = load_each<K>(e1 + i, count, T{0});
          for (int k = 0; k < K; ++k) result[k] = fma<T>(c, plain[k], result[k]);
        } else if (own) {
          for (int k = 0; k < K; ++k) result[k] = fma<T>(c, power<T>(setting.second, student[k]), result[k]);
        }
        return result;
      });
    }
    if (at.gt == nullptr) continue;
    if (!kl || !forward) {
      const Batch<T> a(static_cast<T>(kl ? -of_t * sums.by_p * down_t : 0));
      const Batch<T> b(static_cast<T>(mse ? -of_w : kl ? weight : 0));
      const T* const values = (mse ? w : v) + begin;
      fill_row<T, 2>(at.gt + begin, length, setting.far, [&]<int K>(Index i, Index count) {
        auto result = load_each<K>(values + i, count, T{0});
        for (Batch<T>& one : result) one = kl || mse ? b * one : Batch<T>(T{0});
        if (!kl) return result;
        const auto teacher = load_each<K>(et + i, count, T{0});
        for (int k = 0; k < K; ++k) result[k] = fma<T>(a, teacher[k], result[k]);
        return result;
      });
      continue;
    }
    const Batch<T> factor(static_cast<T>(of_t * down_t)), rest(static_cast<T>(log_s - log_t - sums.term));
    const Batch<T> inverse(setting.inverse), zero(T{0});
    const Batch<T> max_s(row.shift_s.greatest()), max_t(row.shift_t.greatest());
    // A class with probability 0 gets 0, unless NaN or +inf in the teacher's row makes the whole row NaN.
    const Batch<T> absent(std::isnan(row.zt) ? std::numeric_limits<T>::quiet_NaN() : T{0});
    fill_row<T, 2>(at.gt + begin, length, setting.far, [&]<int K>(Index i, Index count) {
      auto result = load_each<K>(et + i, count, T{0});
      const auto logit_s = load_each<K>(row.s + begin + i, count, T{0});
      const auto logit_t = load_each<K>(row.t + begin + i, count, T{0});
      for (int k = 0; k < K; ++k) {
        const Batch<T> p = factor * result[k],
                       difference = ((logit_t[k] - max_t) - (logit_s[k] - max_s)) * inverse;
        result[k] = select(result[k] == zero, absent, p * (difference + rest));
      }
      return result;
    });
  }
  if (at.gs != nullptr && ce) at.gs[at.label] -= static_cast<T>(at.upstream * setting.ce_weight);
  return loss;
}

/// y = (x - mean) / (std + 1e-7) over the elements of a row that are not -infinity; those are kept.
template <class T>
class Standardized {
 public:
  /// `unit` is a factor that x contains.
  Standardized(const T* x, Index n, T* y, double unit = 1) : y_(y), n_(n), unit_(unit) {
    const Batch<T> zero(T{0}), one(T{1}), absent(-infinity<T>);
    const auto sum_of = [&](auto f) {
      return row_sum<T, 4>(n, [&]<int K>(Index i, Index count) {
        auto v = load_each<K>(x + i, count, -infinity<T>);
        for (Batch<T>& each : v) each = select(each == absent, zero, f(each));
        return v;
      });
    };
    count_ = sum_of([&](const Batch<T>&) { return one; });
    const auto mean = static_cast<T>(sum_of([](const Batch<T>& v) { return v; }) / count_);
    // Corrects for the rounding of the mean to T.
    const double rest = sum_of([&](const Batch<T>& v) { return v - Batch<T>(mean); }) / count_;
    const double squares = sum_of([&](const Batch<T>& v) {
      const Batch<T> difference = v - Batch<T>(mean);
      return difference * difference;
    });
    fits_ = std::isfinite(squares);
    std_ = count_ > 1 ? std::sqrt(std::max(0.0, squares - count_ * rest * rest) / (count_ - 1)) : 0;
    const Batch<T> scale(static_cast<T>(1 / (std_ + unit_ * 1e-7))), by(mean), more(static_cast<T>(rest));
    fill_row<T, 4>(y, n, false, [&]<int K>(Index i, Index count) {
      auto v = load_each<K>(x + i, count, T{0});
      for (Batch<T>& each : v) each = select(each == absent, absent, ((each - by) - more) * scale);
      return v;
    });
  }
  /// Repeats the constructor with smaller numbers if the squares overflowed.
  [[gnu::noinline]] void correct_overflow(const T* x, T* y) {
    if (fits_) return;
    for (Index i = 0; i < n_; ++i) y[i] = x[i] * downscale<T>;
    *this = Standardized(y, n_, y, static_cast<double>(downscale<T>));
  }
  /// Converts the gradient of y to that of x, in place.
  void pull_back(T* g) const {
    const Batch<T> zero(T{0}), absent(-infinity<T>);
    const auto sum_of = [&](auto f) {
      return row_sum<T, 4>(n_, [&]<int K>(Index i, Index count) {
        auto v = load_each<K>(y_ + i, count, -infinity<T>);
        const auto w = load_each<K>(g + i, count, T{0});
        for (int k = 0; k < K; ++k) v[k] = select(v[k] == absent, zero, f(v[k], w[k]));
        return v;
      });
    };
    const double mean = sum_of([](const Batch<T>&, const Batch<T>& w) { return w; }) / count_;
    const double dot = sum_of([](const Batch<T>& v, const Batch<T>& w) { return v * w; });
    const Batch<T> by(static_cast<T>(mean)), scale(static_cast<T>(unit_ / (std_ + unit_ * 1e-7))),
        slope(static_cast<T>(std_ == 0 ? 0 : unit_ * dot / ((count_ - 1) * std_)));
    fill_row<T, 4>(g, n_, false, [&]<int K>(Index i, Index count) {
      auto w = load_each<K>(g + i, count, T{0});
      const auto v = load_each<K>(y_ + i, count, T{0});
      for (int k = 0; k < K; ++k)
        w[k] = select(v[k] == absent, zero, fma<T>(-slope, v[k], (w[k] - by) * scale));
      return w;
    });
  }

 private:
  const T* y_;
  Index n_;
  double unit_, count_ = 0, std_ = 0;
  bool fits_ = true;  // no square overflows
};

/// long_row for the divergence of standardized logits.
template <class T>
double standardized_row(const Setting<T>& divergence, const Setting<T>& entropy, const Place<T>& at) {
  const Index n = divergence.call.classes;
  thread_local std::vector<T> room;
  if (room.size() < static_cast<std::size_t>(3 * n)) room.resize(static_cast<std::size_t>(3 * n));
  T *const y_s = room.data(), *const y_t = y_s + n, *const hard = y_t + n;
  double loss = 0;
  Place<T> part = at;
  if (entropy.ce) {
    part.gt = nullptr;
    part.gs = at.gs == nullptr ? nullptr : hard;
    loss += long_row(entropy, part);
  }
  Standardized<T> s(at.s, n, y_s), t(at.t, n, y_t);
  s.correct_overflow(at.s, y_s);
  t.correct_overflow(at.t, y_t);
  part.s = y_s;
  part.t = y_t;
  part.gs = at.gs;
  part.gt = at.gt;
  loss += long_row(divergence, part);
  if (at.gs != nullptr) s.pull_back(at.gs);
  if (at.gt != nullptr) t.pull_back(at.gt);
  for (Index i = 0; i < n && entropy.ce && at.gs != nullptr; ++i) at.gs[i] += hard[i];
  return loss;
}

}  // namespace

template <class T>
void distillation_rows(const DistillationRows<T>& call) {
  const Setting<T> setting(call);
  if (call.classes <= short_row) {
    const Index groups = (call.rows + lanes<T> - 1) / lanes<T>;
    parallel_for(groups, rows_at_a_time(2 * call.classes * lanes<T>), [&](Index begin, Index end) {
      const FlushToZero flush(setting.flushes);
      short_distillation_rows(setting, begin, end);
    });
    return;
  }
  const Index n = call.classes;
  const Setting<T> divergence = setting.alone(true), entropy = setting.alone(false);
  parallel_for(call.rows, rows_at_a_time(2 * n), [&](Index begin, Index end) {
    const FlushToZero flush(setting.flushes);
    for (Index row = begin; row < end; ++row) {
      const auto in_row = [&](auto* x) { return x == nullptr ? x : x + row * n; };
      const Place<T> at{in_row(call.student),
                        setting.kl || setting.mse ? in_row(call.teacher) : nullptr,
                        in_row(call.student_gradient),
                        in_row(call.teacher_gradient),
                        setting.ce && setting.in(row) ? call.labels[row] : 0,
                        setting.upstream(row)};
      double loss = 0;
      if (setting.in(row)) {
        loss = setting.standardize ? standardized_row(divergence, entropy, at) : long_row(setting, at);
      } else {
        for (T* gradient : {at.gs, at.gt})
          if (gradient != nullptr) std::fill_n(gradient, n, T{0});
      }
      if (call.loss != nullptr) call.loss[row] = static_cast<T>(loss);
    }
  });
}

template void distillation_rows(const DistillationRows<float>&);
template void distillation_rows(const DistillationRows<double>&);

}  // namespace retort::kernels
