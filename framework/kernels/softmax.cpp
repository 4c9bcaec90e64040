#include "retort/framework/kernels/softmax.hpp"

#include <cmath>
#include <limits>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {
namespace {

/// `count` independent columns, one per lane, of elements [n][stride]: those of an array with inner > 1, or
/// transposed short rows.
template <class T>
struct ColumnBlock {
  std::int64_t n, stride, count;

  Batch<T> get(const T* x, std::int64_t j) const { return load_lanes(x + j * stride, count, T{0}); }
  template <int K>
  std::array<Batch<T>, K> get_each(const T* x, std::int64_t j) const {
    std::array<Batch<T>, K> v;
    for (int k = 0; k < K; ++k) v[k] = get(x, j + k);
    return v;
  }
  void put(T* y, std::int64_t j, const Batch<T>& v) const { store_lanes(y + j * stride, v, count); }
};

/// Column sums whose error does not grow with the number of terms (Kahan, over sums of 8).
template <class T>
class ColumnSum {
 public:
  void add(const Batch<T>& v) {
    part_ += v;
    if (++terms_ % 8 == 0) flush();
  }
  Batch<T> value() {
    flush();
    return sum_;
  }

 private:
  void flush() {
    const Batch<T> corrected = part_ - lost_, next = sum_ + corrected, zero(T{0});
    // An infinite sum has no correction.
    lost_ = select(next - next == zero, (next - sum_) - corrected, zero);
    sum_ = next;
    part_ = zero;
  }
  Batch<T> part_ = Batch<T>(T{0}), sum_ = Batch<T>(T{0}), lost_ = Batch<T>(T{0});
  int terms_ = 0;
};

template <class T>
Batch<T> column_max(const ColumnBlock<T>& columns, const T* x) {
  Batch<T> max(-infinity<T>);
  for (std::int64_t j = 0; j < columns.n; ++j) max = max_of<T>(columns.get(x, j), max);
  return max;
}

/// The sum of exp(x - shift) down each column; the exponentials are written to y unless null. Unless Bounded,
/// the shift may not be the maximum.
template <class T, bool Bounded = true>
Batch<T> exp_sum(const ColumnBlock<T>& columns, const T* x, const Batch<T>& shift, T* y) {
  ColumnSum<T> sum;
  in_fours(columns.n, [&]<int K>(std::int64_t j) {
    auto v = columns.template get_each<K>(x, j);
    for (Batch<T>& one : v) one = one - shift;
    if constexpr (Bounded)
      exp_each_below_0<T>(v);
    else
      exp_each<T>(v);
    for (int k = 0; k < K; ++k) {
      if (y != nullptr) columns.put(y, j + k, v[k]);
      sum.add(v[k]);
    }
  });
  return sum.value();
}

/// The maximum of a row and the sum of exp(x - max). The exponentials are written to e unless null; those of
/// block b must still be multiplied by shift.factor(b, 1).
template <class T>
double exp_sum(const T* x, std::int64_t n, RunningShift<T>& shift, T* e) {
  const std::int64_t block = RunningShift<T>::block_of(n);
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += block) {
    const std::int64_t index = begin / block, length = std::min(block, n - begin);
    const T fall = shift.next(index, row_max(x + begin, length));
    if (fall != T{0}) total *= static_cast<double>(exp<T>(Batch<T>(fall)).get(0));
    const Batch<T> by(shift.at(index));
    total += row_sum<T, 4>(length, [&]<int K>(std::int64_t i, std::int64_t count) {
      prefetch_each<K>(x + begin + i + ahead);
      auto v = load_each<K>(x + begin + i, count, -infinity<T>);
      for (Batch<T>& one : v) one = one - by;
      exp_each_below_0<T>(v);
      if (e != nullptr) {
        for (int k = 0; k < K; ++k) prefetch_result(e + begin + i + k * lanes<T>);
        store_each<T>(e + begin + i, v, count);
      }
      return v;
    });
  }
  return total;
}

/// The number that logsumexp subtracts before exp; finite, since inf - inf would be NaN.
template <class T>
Batch<T> finite_shift(const Batch<T>& max) {
  return select(xsimd::abs(max) == Batch<T>(infinity<T>), Batch<T>(T{0}), max);
}

/// Computes y [outer, n, inner] = f(a, b): long rows one by one with row(a, b, y); short rows and inner > 1
/// in registers of columns with columns(ColumnBlock, a, b, y, position in [outer, inner]). b may be null.
template <class T, class Row, class Column>
void run(const T* a, const T* b, T* y, const Axis& axis, Row row, Column column) {
  const auto [outer, n, inner] = axis;
  if (outer * n * inner == 0) return;
  if (inner > 1) {
    const std::int64_t strips = (inner + lanes<T> - 1) / lanes<T>;
    parallel_for(outer * strips, rows_at_a_time(n * lanes<T>), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t o = i / strips, first = i % strips * lanes<T>, offset = o * n * inner + first;
        column(ColumnBlock<T>{n, inner, std::min(lanes<T>, inner - first)}, a + offset,
               b == nullptr ? b : b + offset, y == nullptr ? y : y + offset, o * inner + first);
      }
    });
  } else if (n <= short_row) {
    const std::int64_t groups = (outer + lanes<T> - 1) / lanes<T>;
    const bool far = y != nullptr && is_far<T>(outer * n);
    parallel_for(groups, rows_at_a_time(n * lanes<T>), [&](std::int64_t begin, std::int64_t end) {
      alignas(64) T transposed_a[short_row * lanes<T>], transposed_b[short_row * lanes<T>],
          transposed_y[short_row * lanes<T>] = {};
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t first = i * lanes<T>, count = std::min(lanes<T>, outer - first);
        // The next rows of the result; the transposes fetch those of the inputs.
        for (std::int64_t k = n * lanes<T>; far && k < 2 * n * lanes<T>; k += 64 / sizeof(T))
          __builtin_prefetch(y + first * n + k, 1);
        transpose_in(a + first * n, n, count, transposed_a);
        if (b != nullptr) transpose_in(b + first * n, n, count, transposed_b);
        column(ColumnBlock<T>{n, lanes<T>, lanes<T>}, transposed_a, transposed_b, transposed_y, first);
        if (y != nullptr) transpose_out(transposed_y, n, count, y + first * n);
      }
    });
  } else {
    const bool far = is_far<T>(outer * n);
    parallel_for(outer, rows_at_a_time(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        row(a + i * n, b == nullptr ? b : b + i * n, y == nullptr ? y : y + i * n, i, far);
    });
  }
}

}  // namespace

template <class T>
void softmax(const T* x, T* y, const Axis& axis) {
  const Index classes = axis.n;
  run<T>(
      x, nullptr, y, axis,
      [classes](const T* from, const T*, T* to, std::int64_t, bool) {
        RunningShift<T> shift;
        const double sum = exp_sum(from, classes, shift, to);
        const std::int64_t block = RunningShift<T>::block_of(classes);
        for (std::int64_t begin = 0; begin < classes; begin += block) {
          const Batch<T> factor(static_cast<T>(static_cast<double>(shift.factor(begin / block, T{1})) / sum));
          fill_row<T, 2>(to + begin, std::min(block, classes - begin), false,
                         [=]<int K>(std::int64_t i, std::int64_t count) {
                           auto v = load_each<K>(to + begin + i, count, T{0});
                           for (Batch<T>& one : v) one = one * factor;
                           return v;
                         });
        }
      },
      [](const ColumnBlock<T>& columns, const T* from, const T*, T* to, std::int64_t) {
        const Batch<T> sum = exp_sum(columns, from, column_max(columns, from), to);
        for (std::int64_t j = 0; j < columns.n; ++j) columns.put(to, j, columns.get(to, j) / sum);
      });
}

template <class T>
void log_softmax(const T* x, T* y, const Axis& axis) {
  const Index classes = axis.n;
  run<T>(
      x, nullptr, y, axis,
      [classes](const T* from, const T*, T* to, std::int64_t, bool far) {
        RunningShift<T> shift;
        const Batch<T> rest(static_cast<T>(std::log(exp_sum<T>(from, classes, shift, nullptr)))),
            max(shift.greatest());
        fill_row<T, 2>(to, classes, far, [=]<int K>(std::int64_t i, std::int64_t count) {
          auto v = load_each<K>(from + i, count, T{0});
          for (Batch<T>& one : v) one = (one - max) - rest;
          return v;
        });
      },
      [](const ColumnBlock<T>& columns, const T* from, const T*, T* to, std::int64_t) {
        const Batch<T> max = column_max(columns, from),
                       rest = log<T>(exp_sum<T>(columns, from, max, nullptr));
        for (std::int64_t j = 0; j < columns.n; ++j) columns.put(to, j, (columns.get(from, j) - max) - rest);
      });
}

template <class T>
void logsumexp(const T* x, T* y, const Axis& axis) {
  const auto [outer, classes, inner] = axis;
  if (classes == 0) std::fill_n(y, outer * inner, -infinity<T>);
  run<T>(
      x, nullptr, nullptr, axis,
      [y, classes](const T* from, const T*, T*, std::int64_t i, bool) {
        RunningShift<T> shift;
        const double sum = exp_sum<T>(from, classes, shift, nullptr);
        const T max = shift.greatest();
        // If the maximum is infinite, the sum is 0 or NaN. Except for +inf, it is NaN only if an element is
        // NaN.
        if (max == -infinity<T>)
          y[i] = sum == 0 ? max : static_cast<T>(sum);
        else if (max == infinity<T>)
          y[i] = std::find_if(from, from + classes, [](T v) { return v != v; }) == from + classes
                     ? max
                     : std::numeric_limits<T>::quiet_NaN();
        else
          y[i] = static_cast<T>(static_cast<double>(max) + std::log(sum));
      },
      [y, outer, inner](const ColumnBlock<T>& columns, const T* from, const T*, T*, std::int64_t position) {
        const Batch<T> shift = finite_shift(column_max(columns, from));
        const Batch<T> value = shift + log<T>(exp_sum<T, false>(columns, from, shift, nullptr));
        store_lanes(y + position, value, std::min(columns.count, outer * inner - position));
      });
}

template <class T>
void softmax_backward(const T* y, const T* g, T* dx, const Axis& axis) {
  const Index classes = axis.n;
  run<T>(
      y, g, dx, axis,
      [classes](const T* p, const T* from, T* to, std::int64_t, bool far) {
        const Batch<T> zero(T{0});
        const Batch<T> dot(
            static_cast<T>(row_sum<T, 4>(classes, [=]<int K>(std::int64_t i, std::int64_t count) {
              prefetch_each<K>(p + i + ahead);
              prefetch_each<K>(from + i + ahead);
              auto v = load_each<K>(p + i, count, T{0});
              const auto upstream = load_each<K>(from + i, count, T{0});
              for (int k = 0; k < K; ++k) v[k] = select(v[k] == zero, zero, v[k] * upstream[k]);
              return v;
            })));
        fill_row<T, 2>(to, classes, far, [=]<int K>(std::int64_t i, std::int64_t count) {
          auto v = load_each<K>(p + i, count, T{0});
          const auto upstream = load_each<K>(from + i, count, T{0});
          for (int k = 0; k < K; ++k) v[k] = select(v[k] == zero, zero, v[k] * (upstream[k] - dot));
          return v;
        });
      },
      [](const ColumnBlock<T>& columns, const T* p, const T* from, T* to, std::int64_t) {
        const Batch<T> zero(T{0});
        ColumnSum<T> sum;
        for (std::int64_t j = 0; j < columns.n; ++j) {
          const Batch<T> v = columns.get(p, j);
          sum.add(select(v == zero, zero, v * columns.get(from, j)));
        }
        const Batch<T> dot = sum.value();
        for (std::int64_t j = 0; j < columns.n; ++j) {
          const Batch<T> v = columns.get(p, j);
          columns.put(to, j, select(v == zero, zero, v * (columns.get(from, j) - dot)));
        }
      });
}

template <class T>
void log_softmax_backward(const T* y, const T* g, T* dx, const Axis& axis) {
  const Index classes = axis.n;
  run<T>(
      y, g, dx, axis,
      [classes](const T* log_p, const T* from, T* to, std::int64_t, bool far) {
        const Batch<T> sum(
            static_cast<T>(row_sum<T, 4>(classes, [=]<int K>(std::int64_t i, std::int64_t count) {
              prefetch_each<K>(from + i + ahead);
              return load_each<K>(from + i, count, T{0});
            })));
        fill_row<T, 4>(to, classes, far, [=]<int K>(std::int64_t i, std::int64_t count) {
          prefetch_each<K>(log_p + i + ahead);
          auto v = load_each<K>(log_p + i, count, T{0});
          const auto upstream = load_each<K>(from + i, count, T{0});
          exp_each_below_0<T>(v);
          for (int k = 0; k < K; ++k) v[k] = fma<T>(-v[k], sum, upstream[k]);
          return v;
        });
      },
      [](const ColumnBlock<T>& columns, const T* log_p, const T* from, T* to, std::int64_t) {
        ColumnSum<T> total;
        for (std::int64_t j = 0; j < columns.n; ++j) total.add(columns.get(from, j));
        const Batch<T> sum = total.value();
        in_fours(columns.n, [&]<int K>(std::int64_t j) {
          auto v = columns.template get_each<K>(log_p, j);
          exp_each_below_0<T>(v);
          for (int k = 0; k < K; ++k) columns.put(to, j + k, fma<T>(-v[k], sum, columns.get(from, j + k)));
        });
      });
}

template <class T>
void logsumexp_backward(const T* x, const T* y, const T* g, T* dx, const Axis& axis) {
  const auto [outer, classes, inner] = axis;
  run<T>(
      x, nullptr, dx, axis,
      [=](const T* from, const T*, T* to, std::int64_t row, bool far) {
        const Batch<T> total(y[row]), factor(g[row]);
        fill_row<T, 4>(to, classes, far, [=]<int K>(std::int64_t i, std::int64_t count) {
          auto v = load_each<K>(from + i, count, T{0});
          for (Batch<T>& one : v) one = one - total;
          exp_each<T>(v);
          for (Batch<T>& one : v) one = factor * one;
          return v;
        });
      },
      [=](const ColumnBlock<T>& columns, const T* from, const T*, T* to, std::int64_t position) {
        const std::int64_t count = std::min(columns.count, outer * inner - position);
        const Batch<T> total = load_lanes(y + position, count, T{0}),
                       factor = load_lanes(g + position, count, T{0});
        in_fours(columns.n, [&]<int K>(std::int64_t j) {
          auto v = columns.template get_each<K>(from, j);
          for (Batch<T>& one : v) one = one - total;
          exp_each<T>(v);
          for (int k = 0; k < K; ++k) columns.put(to, j + k, factor * v[k]);
        });
      });
}

template void softmax(const float*, float*, const Axis&);
template void softmax(const double*, double*, const Axis&);
template void log_softmax(const float*, float*, const Axis&);
template void log_softmax(const double*, double*, const Axis&);
template void softmax_backward(const float*, const float*, float*, const Axis&);
template void softmax_backward(const double*, const double*, double*, const Axis&);
template void log_softmax_backward(const float*, const float*, float*, const Axis&);
template void log_softmax_backward(const double*, const double*, double*, const Axis&);
template void logsumexp(const float*, float*, const Axis&);
template void logsumexp(const double*, double*, const Axis&);
template void logsumexp_backward(const float*, const float*, const float*, float*, const Axis&);
template void logsumexp_backward(const double*, const double*, const double*, double*, const Axis&);

}  // namespace retort::kernels
