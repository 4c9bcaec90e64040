#include "retort/framework/kernels/sparse_distillation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/reduce.hpp"
#include "retort/framework/kernels/softmax.hpp"

namespace retort::kernels {
namespace {

// Memory of one thread for one row.
template <class T>
struct Scratch {
  std::vector<T> softened;    // (student - shift) / T
  std::vector<T> plain;       // student - shift, unless T is 1
  std::vector<T> label_part;  // of the gradient
  std::vector<T> kept;        // softened logits of the kept classes
  std::vector<T> parts;
};

template <class T>
class Row {
 public:
  Row(const SparseDistillationRows<T>& call, Index row, Scratch<T>& scratch)
      : call_(call),
        classes_(call.classes),
        student_(call.student + row * call.classes),
        indices_(call.indices + row * call.kept),
        log_probs_(call.log_probs + row * call.kept),
        log_tail_(static_cast<double>(call.log_tail[row])),
        label_(call.labels != nullptr ? call.labels[row] : 0),
        scratch_(scratch) {}

  // The loss; then gradient() may be called.
  double loss() {
    T largest;
    amax(student_, &largest, {1, classes_, 1});
    shift_ = std::isinf(largest) && largest < 0 ? T{0} : largest;
    const T inverse = static_cast<T>(1 / call_.temperature);
    scratch_.softened.resize(static_cast<std::size_t>(classes_));
    z_ = scratch_.softened.data();
    for (Index j = 0; j < classes_; ++j) z_[j] = (student_[j] - shift_) * inverse;
    scratch_.kept.clear();
    for (Index k = 0; k < call_.kept; ++k) scratch_.kept.push_back(z_[indices_[k]]);
    log_kept_ = log_sum(scratch_.kept);
    if (call_.tail != SparseTail::renormalize) log_rest_ = log_sum_of_rest();
    log_all_ = call_.tail == SparseTail::renormalize ? log_kept_ : log_add(log_kept_, log_rest_);
    double value = call_.alpha * call_.temperature * call_.temperature * divergence();
    if (call_.alpha < 1) value += (1 - call_.alpha) * entropy();
    return value;
  }

  // Writes `factor` times the gradient of the loss; `out` may be the student's row.
  void gradient(T* out, double factor) {
    const double soft = factor * call_.alpha * call_.temperature;
    // All classes that are not kept have the same multiple of their probability.
    double rest = 0;
    if (call_.tail == SparseTail::drop) rest = mass_;
    if (call_.tail == SparseTail::bucket)
      rest = mass_ - (std::isinf(log_tail_) ? 0 : std::exp(log_tail_ + log_all_ - log_rest_));
    if (rest == 0) {
      std::fill_n(out, classes_, T{0});
    } else {
      const T total = static_cast<T>(log_all_), g = static_cast<T>(soft * rest);
      logsumexp_backward(z_, &total, &g, out, {1, classes_, 1});
    }
    for (Index k = 0; k < call_.kept; ++k) {
      const double z = kept(k), log_p = log_prob(k);
      const double p = std::isinf(log_p) ? 0 : std::exp(log_p),
                   q = std::isinf(z) ? 0 : std::exp(z - log_all_);
      out[indices_[k]] = static_cast<T>(soft * (mass_ * q - p));
    }
    if (call_.alpha < 1) add_label_part(out, factor * (1 - call_.alpha));
  }

 private:
  static double log_add(double a, double b) {
    const double high = std::max(a, b);
    return std::isinf(high) && high < 0 ? high : high + std::log(std::exp(a - high) + std::exp(b - high));
  }

  // Stretches between kept classes, so that nothing is subtracted from a sum.
  double log_sum_of_rest() {
    scratch_.parts.clear();
    Index begin = 0;
    for (Index k = 0; k <= call_.kept; ++k) {
      const Index end = k < call_.kept ? indices_[k] : classes_;
      if (end > begin) logsumexp(z_ + begin, &scratch_.parts.emplace_back(), {1, end - begin, 1});
      begin = end + 1;
    }
    return log_sum(scratch_.parts);
  }
  static double log_sum(const std::vector<T>& values) {
    double high = -std::numeric_limits<double>::infinity(), sum = 0;
    for (const T value : values) high = std::max(high, static_cast<double>(value));
    for (const T value : values) {
      if (std::isnan(value)) return static_cast<double>(value);
      if (!std::isinf(value)) sum += std::exp(static_cast<double>(value) - high);
    }
    return high + std::log(sum);
  }
  double kept(Index k) const { return static_cast<double>(scratch_.kept[static_cast<std::size_t>(k)]); }
  double log_prob(Index k) const { return static_cast<double>(log_probs_[k]) - log_mass_; }

  static double term(double log_p, double log_q) {
    return std::isinf(log_p) && log_p < 0 ? 0 : std::exp(log_p) * (log_p - log_q);
  }
  double divergence() {
    std::vector<T>& p = scratch_.parts;
    p.assign(log_probs_, log_probs_ + call_.kept);
    log_mass_ = call_.tail == SparseTail::renormalize ? log_sum(p) : 0;
    double sum = 0;
    mass_ = 0;
    for (Index k = 0; k < call_.kept; ++k) {
      sum += term(log_prob(k), kept(k) - log_all_);
      mass_ += std::exp(log_prob(k));
    }
    if (call_.tail != SparseTail::bucket) return sum;
    mass_ += std::exp(log_tail_);
    return sum + term(log_tail_, log_rest_ - log_all_);
  }

  double entropy() {
    plain_ = z_;
    if (call_.temperature != 1) {
      scratch_.plain.resize(static_cast<std::size_t>(classes_));
      plain_ = scratch_.plain.data();
      for (Index j = 0; j < classes_; ++j) plain_[j] = student_[j] - shift_;
    }
    logsumexp(plain_, &log_plain_, {1, classes_, 1});
    return static_cast<double>(log_plain_) - static_cast<double>(plain_[label_]);
  }
  void add_label_part(T* out, double factor) {
    std::vector<T>& part = scratch_.label_part;
    part.resize(static_cast<std::size_t>(classes_));
    const T g = static_cast<T>(factor);
    logsumexp_backward(plain_, &log_plain_, &g, part.data(), {1, classes_, 1});
    part[static_cast<std::size_t>(label_)] -= g;
    for (Index j = 0; j < classes_; ++j) out[j] += part[static_cast<std::size_t>(j)];
  }

  const SparseDistillationRows<T>& call_;
  const Index classes_;
  const T* const student_;
  const Index* const indices_;
  const T* const log_probs_;
  const double log_tail_;
  const Index label_;
  Scratch<T>& scratch_;
  T* z_ = nullptr;      // scratch_.softened
  T* plain_ = nullptr;  // scratch_.plain or z_
  T shift_ = 0, log_plain_ = 0;
  double log_rest_ = -std::numeric_limits<double>::infinity(), log_kept_ = 0, log_all_ = 0;
  double log_mass_ = 0, mass_ = 0;
};

}  // namespace

template <class T>
void sparse_distillation_rows(const SparseDistillationRows<T>& call) {
  const Index grain = std::max<Index>(1, 16384 / std::max<Index>(1, call.classes));
  parallel_for(call.rows, grain, [&](Index begin, Index end) {
    Scratch<T> scratch;
    for (Index i = begin; i < end; ++i) {
      T* const out = call.gradient != nullptr ? call.gradient + i * call.classes : nullptr;
      if (call.mask != nullptr && call.mask[i] == 0) {
        if (call.loss != nullptr) call.loss[i] = 0;
        if (out != nullptr) std::fill_n(out, call.classes, T{0});
        continue;
      }
      Row<T> row(call, i, scratch);
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
