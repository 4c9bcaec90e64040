#include "retort/framework/kernels/distillation.hpp"

#include <vector>

#include "retort/framework/kernels/parallel.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {
namespace {

// Of one row: s and t are the logits, s' = (s - max s)/T and t' likewise, zs and zt the sums of their
// exponentials, z1 that of exp(s - max s), x = sum(exp(t')·(t' - s')). Then
//   KL = x/zt + log zs - log zt,   q = exp(s')/zs,   p = exp(t')/zt
// and of T²·KL the gradients are T·(q - p) for s and T·p·((t' - s') + log zs - log zt - KL) for t.

/// One row. The exponentials wait for their sums where the gradients will stand; `scratch` [classes] takes the
/// teacher's if only the student's gradient is wanted.
template <class T>
void distil_row(const DistillationRows<T>& call, std::int64_t row, T* scratch) {
  const std::int64_t n = call.classes;
  T* const gs = call.student_gradient == nullptr ? nullptr : call.student_gradient + row * n;
  T* const gt = call.teacher_gradient == nullptr ? nullptr : call.teacher_gradient + row * n;
  const bool kl = call.alpha > 0, ce = call.alpha < 1;
  const bool masked = call.mask != nullptr && call.mask[row] == 0;
  if (gt != nullptr && (masked || !kl)) std::fill_n(gt, n, T{0});
  if (masked) {
    call.loss[row] = 0;
    if (gs != nullptr) std::fill_n(gs, n, T{0});
    return;
  }
  const double temperature = kl ? call.temperature : 1;
  const bool second_softmax = ce && temperature != 1;
  const T *s = call.student + row * n, *t = kl ? call.teacher + row * n : nullptr;
  T* const es = gs;
  T* const et = gt != nullptr ? gt : gs != nullptr ? scratch : nullptr;

  const T max_s = row_max(s, n);
  const Batch<T> shift_s(max_s), shift_t(kl ? row_max(t, n) : T{0}), zero(T{0});
  const Batch<T> inverse(static_cast<T>(1 / temperature));
  const auto student = [=](std::int64_t i, std::int64_t count) {
    return load_lanes(s + i, count, -infinity<T>) - shift_s;
  };
  const auto teacher = [=](std::int64_t i, std::int64_t count) {
    return (load_lanes(t + i, count, -infinity<T>) - shift_t) * inverse;
  };
  const auto [zs, zt, x, z1] = row_sums<T, 4>(n, [&](std::int64_t i, std::int64_t count, Batch<T>* sums) {
    const Batch<T> plain = student(i, count), scaled = plain * inverse, e = exp<T>(scaled);
    if (es != nullptr) store_lanes(es + i, e, count);
    sums[0] += e;
    if (second_softmax) sums[3] += exp<T>(plain);
    if (kl) {
      const Batch<T> v = teacher(i, count), w = exp<T>(v);
      if (et != nullptr) store_lanes(et + i, w, count);
      sums[1] += w;
      sums[2] += select(w == zero, zero, w * (v - scaled));
    }
  });
  double logs[4] = {zs, kl ? zt : 1, second_softmax ? z1 : zs, 1};
  log_in_place(logs, 4);
  const double divergence = kl ? x / zt + logs[0] - logs[1] : 0;
  const double kl_weight = call.alpha * temperature, ce_weight = 1 - call.alpha;
  double loss = kl ? kl_weight * temperature * divergence : 0;
  if (ce) loss += ce_weight * (logs[2] - static_cast<double>(s[call.labels[row]] - max_s));
  call.loss[row] = static_cast<T>(loss);

  const double upstream = call.scale * (call.g == nullptr ? 1 : static_cast<double>(call.g[row]));
  if (gs != nullptr) {
    const double own = (kl ? kl_weight / zs : 0) + (ce && !second_softmax ? ce_weight / zs : 0);
    const Batch<T> a(static_cast<T>(upstream * own)), b(static_cast<T>(kl ? -upstream * kl_weight / zt : 0));
    const Batch<T> c(static_cast<T>(second_softmax ? upstream * ce_weight / z1 : 0));
    if (!kl) fill_row(gs, n, [=](std::int64_t i, std::int64_t count) { return a * load_lanes(es + i, count, T{0}); });
    else if (!second_softmax)
      fill_row(gs, n, [=](std::int64_t i, std::int64_t count) {
        return fma<T>(b, load_lanes(et + i, count, T{0}), a * load_lanes(es + i, count, T{0}));
      });
    else
      fill_row(gs, n, [=](std::int64_t i, std::int64_t count) {
        const Batch<T> v = fma<T>(b, load_lanes(et + i, count, T{0}), a * load_lanes(es + i, count, T{0}));
        return fma<T>(c, exp<T>(student(i, count)), v);
      });
    if (ce) gs[call.labels[row]] -= static_cast<T>(upstream * ce_weight);
  }
  if (gt != nullptr && kl) {
    const Batch<T> factor(static_cast<T>(upstream * kl_weight / zt));
    const Batch<T> rest(static_cast<T>(logs[0] - logs[1] - divergence));
    fill_row(gt, n, [=](std::int64_t i, std::int64_t count) {
      const Batch<T> e = load_lanes(et + i, count, T{0});
      return select(e == zero, zero, factor * e * ((teacher(i, count) - student(i, count) * inverse) + rest));
    });
  }
}

/// Room for one row of exponentials, kept by each thread for its next call.
template <class T>
T* scratch_row(std::int64_t n) {
  thread_local std::vector<T> room;
  if (static_cast<std::int64_t>(room.size()) < n) room.resize(static_cast<std::size_t>(n));
  return room.data();
}

}  // namespace

template <class T>
void distillation_rows(const DistillationRows<T>& call) {
  parallel_for(call.rows, std::max<std::int64_t>(1, rows_at_a_time(call.classes) / 2),
               [&](std::int64_t begin, std::int64_t end) {
                 T* scratch = scratch_row<T>(call.classes);
                 for (std::int64_t row = begin; row < end; ++row) distil_row(call, row, scratch);
               });
}

template void distillation_rows(const DistillationRows<float>&);
template void distillation_rows(const DistillationRows<double>&);

}  // namespace retort::kernels
