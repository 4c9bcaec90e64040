#include "retort/framework/kernels/decoupled.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/distillation_impl.hpp"

namespace retort::kernels {
namespace {

/// The log-probabilities of {label, rest}, given the unnormalised ones a and b.
struct Choice {
  Choice(double a, double b) {
    const double high = std::max(a, b), sum = high + std::log(std::exp(a - high) + std::exp(b - high));
    log_label = a - sum;
    log_rest = b - sum;
  }
  double log_label, log_rest;
};

/// Writes `upstream` times the gradient of the student's row, unless it is null. Returns the loss, or NaN if
/// the sums of the row are not regular numbers.
template <class T>
double decoupled_row(const Setting<T>& setting, const DecoupledRows<T>& call, Index index, double upstream) {
  const Index n = call.classes, room = (n + 63) / 64 * 64, block = RunningShift<T>::block_of(n);
  const Index label = call.labels[index];
  const double temperature = call.temperature;
  T *const s = scratch<T>(4 * room), *const t = s + room;
  std::copy_n(call.student + index * n, n, s);
  std::copy_n(call.teacher + index * n, n, t);
  const auto label_s = static_cast<double>(s[label]), label_t = static_cast<double>(t[label]);
  s[label] = t[label] = -infinity<T>;
  LongRow<T> row(s, t, n);
  row.es = t + room;
  row.et = row.es + room;
  row.template visit<true, true>(setting);
  if (!(std::isfinite(row.x + label_s + label_t) && std::isnormal(row.zs) && std::isnormal(row.zt)))
    return std::nan("");
  const double logs[] = {std::log(row.zs), std::log(row.zt)};
  const double of_rest = row.x / (row.zt * temperature) + logs[0] - logs[1];
  const auto choice = [&](double of_label, T greatest, double log_z) {
    return Choice(of_label / temperature, static_cast<double>(greatest) / temperature + log_z);
  };
  const Choice q = choice(label_s, row.shift_s.greatest(), logs[0]),
               p = choice(label_t, row.shift_t.greatest(), logs[1]);
  const double p_label = std::exp(p.log_label), p_rest = std::exp(p.log_rest);
  const double of_target = p_label * (p.log_label - q.log_label) + p_rest * (p.log_rest - q.log_rest);
  const double loss = temperature * temperature * (call.alpha * of_target + call.beta * of_rest);
  if (call.gradient == nullptr) return loss;

  const double g = upstream * temperature, difference = std::exp(q.log_rest) - p_rest;
  const double of_s = g * (call.beta + call.alpha * difference) / row.zs, of_t = -g * call.beta / row.zt;
  T* const out = call.gradient + index * n;
  for (Index begin = 0; begin < n; begin += block) {
    const Index i = begin / block;
    const auto factor = [&](double of, const RunningShift<T>& shift) {
      return Batch<T>(static_cast<T>(of * static_cast<double>(shift.factor(i, setting.inverse))));
    };
    const Batch<T> a = factor(of_s, row.shift_s), b = factor(of_t, row.shift_t);
    fill_row<T, 2>(out + begin, std::min(block, n - begin), setting.far, [&]<int K>(Index j, Index count) {
      auto v = load_each<K>(row.es + begin + j, count, T{0});
      const auto w = load_each<K>(row.et + begin + j, count, T{0});
      for (int k = 0; k < K; ++k) v[k] = fma<T>(b, w[k], a * v[k]);
      return v;
    });
  }
  out[label] = static_cast<T>(g * call.alpha * (std::exp(q.log_label) - p_label));
  return loss;
}

}  // namespace

template <class T>
bool decoupled_distillation_rows(const DecoupledRows<T>& call) {
  const DistillationRows<T> whole{.rows = call.rows,
                                  .classes = call.classes,
                                  .temperature = call.temperature,
                                  .student = call.student,
                                  .teacher = call.teacher,
                                  .student_gradient = call.gradient};
  const Setting<T> setting(whole);
  std::atomic<bool> regular = true;
  parallel_for(call.rows, rows_at_a_time(2 * call.classes), [&](Index begin, Index end) {
    const FlushToZero flush(true);
    for (Index i = begin; i < end; ++i) {
      double loss = 0;
      if (call.mask == nullptr || call.mask[i] != 0) {
        loss = decoupled_row(setting, call, i,
                             call.scale * (call.g == nullptr ? 1 : static_cast<double>(call.g[i])));
        if (std::isnan(loss)) regular = false;
      } else if (call.gradient != nullptr) {
        std::fill_n(call.gradient + i * call.classes, call.classes, T{0});
      }
      call.loss[i] = static_cast<T>(loss);
    }
  });
  return regular;
}

template bool decoupled_distillation_rows(const DecoupledRows<float>&);
template bool decoupled_distillation_rows(const DecoupledRows<double>&);

}  // namespace retort::kernels
