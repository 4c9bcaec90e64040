#include "retort/framework/kernels/sparse_distillation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {
namespace {

/// Memory of one thread.
template <class T>
struct Scratch {
  explicit Scratch(const SparseDistillationRows<T>& call)
      : soft(static_cast<std::size_t>(call.classes)), kept(static_cast<std::size_t>(call.kept)) {}

  struct Kept {
    double z, log_p, p, q;  // softened logit minus its shift, and both probabilities
  };
  std::vector<T> soft;   // exponentials of all classes, 0 for the kept ones
  std::vector<T> plain;  // exponentials at temperature 1, if they are not powers of `soft`
  std::vector<Kept> kept;
};

/// Values shared by all rows of a call. The exponentials of the first pass are exp(s/T), or exp(s) if only
/// the labels need them; those of the labels are their T-th power.
template <class T>
struct Setting {
  explicit Setting(const SparseDistillationRows<T>& of)
      : call(of),
        needs_rest(of.tail != SparseTail::renormalize),
        labels(of.alpha < 1),
        temperature(needs_rest ? of.temperature : 1),
        exponential(1 / temperature),
        power(temperature == 1 || temperature == 2 || temperature == 3 || temperature == 4
                  ? static_cast<int>(temperature)
                  : 0),
        far(is_far<T>(of.rows * of.classes)) {}

  const SparseDistillationRows<T>& call;
  bool needs_rest, labels;
  double temperature;
  ScaledExp<T> exponential;
  int power;  // 0: the labels' exponentials are computed separately
  bool far;
};

template <class T>
inline Batch<T> raised(const Batch<T>& e, int power) {
  const Batch<T> square = power > 1 ? e * e : e;
  return power < 3 ? square : power == 3 ? square * e : square * square;
}

template <class T>
class Row {
 public:
  Row(const Setting<T>& setting, Index row, Scratch<T>& scratch)
      : setting_(setting),
        call_(setting.call),
        classes_(call_.classes),
        block_(RunningShift<T>::block_of(classes_)),
        power_(setting.power),
        student_(call_.student + row * classes_),
        indices_(call_.indices + row * call_.kept),
        log_probs_(call_.log_probs + row * call_.kept),
        log_tail_(static_cast<double>(call_.log_tail[row])),
        label_(call_.labels != nullptr ? call_.labels[row] : 0),
        scratch_(scratch) {}

  /// Returns the loss; gradient() may be called afterwards.
  double loss() {
    const double T2 = call_.temperature * call_.temperature;
    if (setting_.needs_rest || setting_.labels) visit();
    const double value = call_.alpha > 0 ? call_.alpha * T2 * divergence() : 0;
    if (!setting_.labels) return value;
    const double entropy = std::log(sum_plain_) - static_cast<double>(student_[label_] - shift_.greatest());
    return value + (1 - call_.alpha) * entropy;
  }

  /// Writes the gradient of the loss times `factor`; `out` may be the student's row.
  void gradient(T* out, double factor) {
    const double soft = factor * call_.alpha * call_.temperature, hard = factor * (1 - call_.alpha);
    // All classes that are not kept have the same multiple of their exponential.
    double rest = 0;
    if (soft != 0 && setting_.needs_rest && sum_rest_ != 0)
      rest =
          soft * (mass_ * q_rest_ - (call_.tail == SparseTail::bucket ? std::exp(log_tail_) : 0)) / sum_rest_;
    const double of_plain = setting_.labels ? hard / sum_plain_ : 0;
    // The kept classes are read before they are overwritten.
    for (Index k = 0; k < call_.kept && setting_.labels; ++k)
      kept(k).z = of_plain * std::exp(static_cast<double>(student_[indices_[k]] - shift_.greatest()));
    if (rest == 0 && of_plain == 0)
      std::fill_n(out, classes_, T{0});
    else
      fill(out, rest, of_plain);
    for (Index k = 0; k < call_.kept; ++k)
      out[indices_[k]] = static_cast<T>((soft == 0 ? 0 : soft * (mass_ * kept(k).q - kept(k).p)) +
                                        (setting_.labels ? kept(k).z : 0));
    if (setting_.labels) out[label_] -= static_cast<T>(hard);
  }

 private:
  auto& kept(Index k) { return scratch_.kept[static_cast<std::size_t>(k)]; }
  Index end_of_block(Index begin) const { return std::min(begin + block_, classes_); }

  /// Computes the exponentials of the classes that are not kept, relative to the shift of their block, and
  /// the sums.
  void visit() {
    Index next = 0;  // kept class
    T* const soft = scratch_.soft.data();
    for (Index begin = 0; begin < classes_; begin += block_) {
      const Index index = begin / block_, end = end_of_block(begin);
      const double fall = static_cast<double>(shift_.next(index, row_max(student_ + begin, end - begin)));
      if (fall != 0) {
        sum_rest_ *= std::exp(fall / setting_.temperature);
        sum_plain_ *= std::exp(fall);
      }
      const Batch<T> by(shift_.at(index));
      Batch<T> plain(T{0});
      walk<T, 4>(end - begin, [&]<int K>(Index i, Index count) {
        auto e = load_each<K>(student_ + begin + i, count, -infinity<T>);
        prefetch_each<K>(student_ + begin + i + ahead);
        for (Batch<T>& one : e) one = one - by;
        setting_.exponential(e);
        if (setting_.labels && power_ > 0)
          for (const Batch<T>& one : e) plain += raised<T>(one, power_);
        store_each<T>(soft + begin + i, e, count);
      });
      sum_plain_ += static_cast<double>(sum_lanes<T>(plain));
      for (; next < call_.kept && indices_[next] < end; ++next) soft[indices_[next]] = T{0};
      sum_rest_ += row_sum<T, 4>(end - begin, [&]<int K>(Index i, Index count) {
        return load_each<K>(soft + begin + i, count, T{0});
      });
    }
    const bool lost = setting_.needs_rest && call_.kept < classes_ &&
                      sum_rest_ < static_cast<double>(std::numeric_limits<T>::min()) * 1e6;
    log_rest_ = std::log(sum_rest_);
    if (lost) visit_rest();
    if (setting_.labels && power_ == 0) visit_plain();
  }

  /// Recomputes the exponentials relative to the largest class that is not kept, if all of them have
  /// underflowed next to a kept class.
  void visit_rest() {
    T* const soft = scratch_.soft.data();
    const double greatest = static_cast<double>(shift_.greatest());
    double high = -std::numeric_limits<double>::infinity();
    each_of_rest([&](Index j) { high = std::max(high, static_cast<double>(student_[j])); });
    if (std::isinf(high)) return;
    sum_rest_ = 0;
    each_of_rest([&](Index j) {
      const double e = std::exp((static_cast<double>(student_[j]) - high) / setting_.temperature);
      soft[j] = static_cast<T>(e);
      sum_rest_ += e;
    });
    log_rest_ = std::log(sum_rest_) + (high - greatest) / setting_.temperature;
    uniform_ = true;
    power_ = 0;
  }
  template <class F>
  void each_of_rest(F f) const {
    for (Index j = 0, k = 0; j < classes_; ++j) {
      if (k < call_.kept && indices_[k] == j)
        ++k;
      else
        f(j);
    }
  }

  void visit_plain() {
    scratch_.plain.resize(static_cast<std::size_t>(classes_));
    T* const plain = scratch_.plain.data();
    const Batch<T> by(shift_.greatest() == -infinity<T> ? T{0} : shift_.greatest());
    sum_plain_ = row_sum<T, 4>(classes_, [&]<int K>(Index i, Index count) {
      auto e = load_each<K>(student_ + i, count, -infinity<T>);
      for (Batch<T>& one : e) one = one - by;
      exp_each_below_0<T>(e);
      store_each<T>(plain + i, e, count);
      return e;
    });
  }

  double divergence() {
    const bool renormalized = !setting_.needs_rest;
    const double infinite = std::numeric_limits<double>::infinity();
    double high_s = static_cast<double>(shift_.greatest()), high_p = 0;
    if (renormalized) {
      high_s = high_p = -infinite;
      for (Index k = 0; k < call_.kept; ++k) {
        high_s = std::max(high_s, static_cast<double>(student_[indices_[k]]));
        high_p = std::max(high_p, static_cast<double>(log_probs_[k]));
      }
    }
    if (std::isinf(high_s) && high_s < 0) high_s = 0;
    double sum_q = renormalized ? 0 : std::exp(log_rest_), sum_p = 0;
    for (Index k = 0; k < call_.kept; ++k) {
      const double s = static_cast<double>(student_[indices_[k]]);
      kept(k).z = (s - high_s) / call_.temperature;
      sum_q += kept(k).q = std::exp(kept(k).z);
      kept(k).log_p = static_cast<double>(log_probs_[k]) - high_p;
      sum_p += kept(k).p = std::exp(kept(k).log_p);
    }
    const double log_q = std::log(sum_q), log_p = renormalized ? std::log(sum_p) : 0;
    double sum = 0;
    mass_ = 0;
    for (Index k = 0; k < call_.kept; ++k) {
      auto& [z, log_pk, p, q] = kept(k);
      q /= sum_q;
      if (renormalized) p /= sum_p;
      if (p != 0) sum += p * ((log_pk - log_p) - (z - log_q));
      mass_ += p;
    }
    q_rest_ = renormalized ? 0 : std::exp(log_rest_ - log_q);
    if (call_.tail != SparseTail::bucket) return sum;
    const double tail = std::exp(log_tail_);
    mass_ += tail;
    return tail == 0 ? sum : sum + tail * (log_tail_ - (log_rest_ - log_q));
  }

  void fill(T* out, double rest, double of_plain) const {
    const T *const soft = scratch_.soft.data(), *const plain = scratch_.plain.data();
    for (Index begin = 0; begin < classes_; begin += block_) {
      const Index index = begin / block_, length = end_of_block(begin) - begin;
      const auto down = [&](double temperature) {
        return static_cast<double>(shift_.factor(index, static_cast<T>(1 / temperature)));
      };
      const Batch<T> a(static_cast<T>(rest == 0 ? 0 : uniform_ ? rest : rest * down(setting_.temperature)));
      const Batch<T> c(static_cast<T>(of_plain == 0 ? 0 : power_ == 0 ? of_plain : of_plain * down(1)));
      fill_row<T, 4>(out + begin, length, setting_.far, [&]<int K>(Index i, Index count) {
        auto e = load_each<K>(soft + begin + i, count, T{0});
        if (of_plain == 0) {
          for (Batch<T>& one : e) one = a * one;
        } else if (power_ > 0) {
          for (Batch<T>& one : e) one = fma<T>(c, raised<T>(one, power_), a * one);
        } else {
          const auto other = load_each<K>(plain + begin + i, count, T{0});
          for (int k = 0; k < K; ++k) e[k] = fma<T>(c, other[k], a * e[k]);
        }
        return e;
      });
    }
  }

  const Setting<T>& setting_;
  const SparseDistillationRows<T>& call_;
  const Index classes_, block_;
  int power_;
  const T* const student_;
  const Index* const indices_;
  const T* const log_probs_;
  const double log_tail_;
  const Index label_;
  Scratch<T>& scratch_;
  RunningShift<T> shift_;
  bool uniform_ = false;  // the exponentials have one shift
  double sum_rest_ = 0, sum_plain_ = 0, log_rest_ = -std::numeric_limits<double>::infinity();
  double mass_ = 0, q_rest_ = 0;
};

}  // namespace

template <class T>
void sparse_distillation_rows(const SparseDistillationRows<T>& call) {
  const Setting<T> setting(call);
  parallel_for(call.rows, rows_at_a_time(call.classes), [&](Index begin, Index end) {
    const FlushToZero flush(true);
    Scratch<T> scratch(call);
    for (Index i = begin; i < end; ++i) {
      T* const out = call.gradient != nullptr ? call.gradient + i * call.classes : nullptr;
      if (call.mask != nullptr && call.mask[i] == 0) {
        if (call.loss != nullptr) call.loss[i] = 0;
        if (out != nullptr) std::fill_n(out, call.classes, T{0});
        continue;
      }
      Row<T> row(setting, i, scratch);
      const double loss = row.loss();
      if (call.loss != nullptr) call.loss[i] = static_cast<T>(loss);
      if (out != nullptr)
        row.gradient(out, call.scale * (call.g != nullptr ? static_cast<double>(call.g[i]) : 1));
    }
  });
}

template void sparse_distillation_rows(const SparseDistillationRows<float>&);
template void sparse_distillation_rows(const SparseDistillationRows<double>&);

}  // namespace retort::kernels
