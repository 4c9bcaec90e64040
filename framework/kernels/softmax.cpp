#include "retort/framework/kernels/softmax.hpp"

#include "retort/framework/kernels/parallel.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {
namespace {

constexpr std::int64_t rows_together = 32;  // rows whose logarithms are taken side by side
constexpr std::int64_t short_row = 64;      // only short ones: a long row would leave the cache meanwhile

/// exp(x - max) of a row that fits in registers, to y; gives the sum.
template <class T, int Count>
inline Registers<T, Count> exp_registers(const T* x, std::int64_t n, T& max, T& sum) {
  Registers<T, Count> row(x, n, -infinity<T>);
  max = row.max();
  for (int k = 0; k < Count; ++k) row.v[k] = exp<T>(row.v[k] - Batch<T>(max));
  sum = row.sum();
  return row;
}

/// Maximum and sum of exponentials of a row; those go to y if it isn't null.
template <class T>
void max_and_sum(const T* x, std::int64_t n, T* y, T& max, double& sum) {
  max = row_max(x, n);
  const Batch<T> shift(max);
  if (y != nullptr)
    sum = row_sum<T>(n, [=](std::int64_t i, std::int64_t count) {
      const Batch<T> e = exp<T>(load_lanes(x + i, count, -infinity<T>) - shift);
      store_lanes(y + i, e, count);
      return e;
    });
  else
    sum = row_sum<T>(n, [=](std::int64_t i, std::int64_t count) {
      return exp<T>(load_lanes(x + i, count, -infinity<T>) - shift);
    });
}

/// Calls f(max, log_sum, row) for the rows begin … end - 1 of [outer, n].
template <class T, class F>
void for_log_sums(const T* x, std::int64_t n, std::int64_t begin, std::int64_t end, F f) {
  const std::int64_t together = n <= short_row ? rows_together : 1;
  for (std::int64_t row = begin; row < end; row += together) {
    const std::int64_t count = std::min(together, end - row);
    T maxima[rows_together];
    double sums[rows_together];
    const bool done = in_registers<T>(n, [&]<int Count>() {
      for (std::int64_t i = 0; i < count; ++i) {
        T sum;
        exp_registers<T, Count>(x + (row + i) * n, n, maxima[i], sum);
        sums[i] = static_cast<double>(sum);
      }
    });
    if (!done)
      for (std::int64_t i = 0; i < count; ++i)
        max_and_sum<T>(x + (row + i) * n, n, nullptr, maxima[i], sums[i]);
    log_in_place(sums, count);
    for (std::int64_t i = 0; i < count; ++i) f(maxima[i], sums[i], row + i);
  }
}

template <class F>
void for_rows(std::int64_t outer, std::int64_t n, F f) {
  if (n > 0) parallel_for(outer, rows_at_a_time(n), f);
}

/// Calls f(offset of the first class, lane count, offset in [outer, inner]) for each register of columns.
template <class T, class F>
void for_columns(std::int64_t outer, std::int64_t n, std::int64_t inner, F f) {
  const std::int64_t strips = (inner + lanes<T> - 1) / lanes<T>;
  parallel_for(outer * strips, rows_at_a_time(n * lanes<T>), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t o = i / strips, first = i % strips * lanes<T>;
      f(o * n * inner + first, std::min(lanes<T>, inner - first), o * inner + first);
    }
  });
}

/// A sum whose error does not grow with the number of terms (Kahan).
template <class T>
class ColumnSum {
 public:
  void add(const Batch<T>& v) {
    const Batch<T> corrected = v - lost_;
    const Batch<T> next = sum_ + corrected;
    const Batch<T> zero(T{0});
    lost_ = select(next - next == zero, (next - sum_) - corrected, zero);  // an infinite sum loses nothing
    sum_ = next;
  }
  const Batch<T>& value() const { return sum_; }

 private:
  Batch<T> sum_ = Batch<T>(T{0}), lost_ = Batch<T>(T{0});
};

/// Maximum and sum of exponentials down n rows of columns; the exponentials go to y if it isn't null.
template <class T>
void max_and_sum_down(const T* x, std::int64_t n, std::int64_t inner, std::int64_t count, T* y, Batch<T>& max,
                      Batch<T>& sum) {
  max = Batch<T>(-infinity<T>);
  for (std::int64_t i = 0; i < n; ++i) max = max_of<T>(load_lanes(x + i * inner, count, T{0}), max);
  ColumnSum<T> total;
  for (std::int64_t i = 0; i < n; ++i) {
    const Batch<T> e = exp<T>(load_lanes(x + i * inner, count, T{0}) - max);
    if (y != nullptr) store_lanes(y + i * inner, e, count);
    total.add(e);
  }
  sum = total.value();
}

/// What to subtract before exp in logsumexp: not an infinity, which would hide itself.
template <class T>
Batch<T> finite_shift(const Batch<T>& max) {
  return select(xsimd::abs(max) == Batch<T>(infinity<T>), Batch<T>(T{0}), max);
}

}  // namespace

template <class T>
void softmax(const T* x, T* y, std::int64_t outer, std::int64_t classes, std::int64_t inner) {
  if (inner == 1) {
    for_rows(outer, classes, [&](std::int64_t begin, std::int64_t end) {
      const bool done = in_registers<T>(classes, [&]<int Count>() {
        for (std::int64_t row = begin; row < end; ++row) {
          T max, sum;
          auto e = exp_registers<T, Count>(x + row * classes, classes, max, sum);
          for (Batch<T>& v : e.v) v = v / Batch<T>(sum);
          e.store_to(y + row * classes, classes);
        }
      });
      for (std::int64_t row = begin; row < end && !done; ++row) {
        T max;
        double sum;
        T* to = y + row * classes;
        max_and_sum(x + row * classes, classes, to, max, sum);
        const Batch<T> factor(static_cast<T>(1.0 / sum));
        fill_row(to, classes,
                 [=](std::int64_t i, std::int64_t count) { return load_lanes(to + i, count, T{0}) * factor; });
      }
    });
    return;
  }
  for_columns<T>(outer, classes, inner, [&](std::int64_t at, std::int64_t count, std::int64_t) {
    Batch<T> max, sum;
    max_and_sum_down(x + at, classes, inner, count, y + at, max, sum);
    for (std::int64_t i = 0; i < classes; ++i) {
      T* to = y + at + i * inner;
      store_lanes<T>(to, load_lanes(to, count, T{0}) / sum, count);
    }
  });
}

template <class T>
void log_softmax(const T* x, T* y, std::int64_t outer, std::int64_t classes, std::int64_t inner) {
  if (inner == 1) {
    for_rows(outer, classes, [&](std::int64_t begin, std::int64_t end) {
      for_log_sums(x, classes, begin, end, [&](T max, double log_sum, std::int64_t row) {
        const T* from = x + row * classes;
        const Batch<T> shift(max), rest(static_cast<T>(log_sum));
        fill_row(y + row * classes, classes, [=](std::int64_t i, std::int64_t count) {
          return (load_lanes(from + i, count, T{0}) - shift) - rest;
        });
      });
    });
    return;
  }
  for_columns<T>(outer, classes, inner, [&](std::int64_t at, std::int64_t count, std::int64_t) {
    Batch<T> max, sum;
    max_and_sum_down<T>(x + at, classes, inner, count, nullptr, max, sum);
    const Batch<T> log_sum = log<T>(sum);
    for (std::int64_t i = 0; i < classes; ++i)
      store_lanes<T>(y + at + i * inner, (load_lanes(x + at + i * inner, count, T{0}) - max) - log_sum, count);
  });
}

template <class T>
void logsumexp(const T* x, T* y, std::int64_t outer, std::int64_t classes, std::int64_t inner) {
  if (classes == 0) {
    std::fill_n(y, outer * inner, -infinity<T>);
    return;
  }
  // One row at a time or one register of columns: only here the shift must stay finite.
  const auto row = [&](const T* from) {
    const Batch<T> shift = finite_shift(Batch<T>(row_max(from, classes)));
    double sum = row_sum<T>(classes, [=](std::int64_t i, std::int64_t count) {
      return exp<T>(load_lanes(from + i, count, -infinity<T>) - shift);
    });
    log_in_place(&sum, 1);
    return static_cast<T>(static_cast<double>(shift.get(0)) + sum);
  };
  if (inner == 1) {
    parallel_for(outer, rows_at_a_time(classes), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) y[i] = row(x + i * classes);
    });
    return;
  }
  for_columns<T>(outer, classes, inner, [&](std::int64_t at, std::int64_t count, std::int64_t to) {
    Batch<T> max(-infinity<T>);
    for (std::int64_t i = 0; i < classes; ++i) max = max_of<T>(load_lanes(x + at + i * inner, count, T{0}), max);
    const Batch<T> shift = finite_shift(max);
    ColumnSum<T> sum;
    for (std::int64_t i = 0; i < classes; ++i)
      sum.add(exp<T>(load_lanes(x + at + i * inner, count, T{0}) - shift));
    store_lanes<T>(y + to, shift + log<T>(sum.value()), count);
  });
}

template <class T>
void softmax_backward(const T* y, const T* g, T* dx, std::int64_t outer, std::int64_t classes, std::int64_t inner) {
  const Batch<T> zero(T{0});
  if (inner == 1) {
    for_rows(outer, classes, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const T *p = y + row * classes, *from = g + row * classes;
        const Batch<T> dot(static_cast<T>(row_sum<T>(classes, [=](std::int64_t i, std::int64_t count) {
          const Batch<T> v = load_lanes(p + i, count, T{0});
          return select(v == zero, zero, v * load_lanes(from + i, count, T{0}));
        })));
        fill_row(dx + row * classes, classes, [=](std::int64_t i, std::int64_t count) {
          const Batch<T> v = load_lanes(p + i, count, T{0});
          return select(v == zero, zero, v * (load_lanes(from + i, count, T{0}) - dot));
        });
      }
    });
    return;
  }
  for_columns<T>(outer, classes, inner, [&](std::int64_t at, std::int64_t count, std::int64_t) {
    ColumnSum<T> dot;
    for (std::int64_t i = at, k = 0; k < classes; ++k, i += inner) {
      const Batch<T> v = load_lanes(y + i, count, T{0});
      dot.add(select(v == zero, zero, v * load_lanes(g + i, count, T{0})));
    }
    for (std::int64_t i = at, k = 0; k < classes; ++k, i += inner) {
      const Batch<T> v = load_lanes(y + i, count, T{0});
      store_lanes<T>(dx + i, select(v == zero, zero, v * (load_lanes(g + i, count, T{0}) - dot.value())), count);
    }
  });
}

template <class T>
void log_softmax_backward(const T* y, const T* g, T* dx, std::int64_t outer, std::int64_t classes,
                          std::int64_t inner) {
  if (inner == 1) {
    for_rows(outer, classes, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const T *log_p = y + row * classes, *from = g + row * classes;
        const Batch<T> total(static_cast<T>(row_sum<T>(
            classes, [=](std::int64_t i, std::int64_t count) { return load_lanes(from + i, count, T{0}); })));
        fill_row(dx + row * classes, classes, [=](std::int64_t i, std::int64_t count) {
          return load_lanes(from + i, count, T{0}) - exp<T>(load_lanes(log_p + i, count, T{0})) * total;
        });
      }
    });
    return;
  }
  for_columns<T>(outer, classes, inner, [&](std::int64_t at, std::int64_t count, std::int64_t) {
    ColumnSum<T> total;
    for (std::int64_t i = at, k = 0; k < classes; ++k, i += inner) total.add(load_lanes(g + i, count, T{0}));
    for (std::int64_t i = at, k = 0; k < classes; ++k, i += inner)
      store_lanes<T>(dx + i, load_lanes(g + i, count, T{0}) - exp<T>(load_lanes(y + i, count, T{0})) * total.value(), count);
  });
}

template <class T>
void logsumexp_backward(const T* x, const T* y, const T* g, T* dx, std::int64_t outer, std::int64_t classes,
                        std::int64_t inner) {
  const Batch<T> zero(T{0}), nothing(-infinity<T>);
  if (inner == 1) {
    for_rows(outer, classes, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const T* from = x + row * classes;
        const Batch<T> total(y[row]), factor(g[row]);
        fill_row(dx + row * classes, classes, [=](std::int64_t i, std::int64_t count) {
          return select(total == nothing, zero, factor * exp<T>(load_lanes(from + i, count, T{0}) - total));
        });
      }
    });
    return;
  }
  for_columns<T>(outer, classes, inner, [&](std::int64_t at, std::int64_t count, std::int64_t of) {
    const Batch<T> total = load_lanes(y + of, count, T{0}), factor = load_lanes(g + of, count, T{0});
    for (std::int64_t i = at, k = 0; k < classes; ++k, i += inner)
      store_lanes<T>(dx + i, select(total == nothing, zero, factor * exp<T>(load_lanes(x + i, count, T{0}) - total)), count);
  });
}

template void softmax(const float*, float*, std::int64_t, std::int64_t, std::int64_t);
template void softmax(const double*, double*, std::int64_t, std::int64_t, std::int64_t);
template void log_softmax(const float*, float*, std::int64_t, std::int64_t, std::int64_t);
template void log_softmax(const double*, double*, std::int64_t, std::int64_t, std::int64_t);
template void softmax_backward(const float*, const float*, float*, std::int64_t, std::int64_t, std::int64_t);
template void softmax_backward(const double*, const double*, double*, std::int64_t, std::int64_t, std::int64_t);
template void log_softmax_backward(const float*, const float*, float*, std::int64_t, std::int64_t, std::int64_t);
template void log_softmax_backward(const double*, const double*, double*, std::int64_t, std::int64_t, std::int64_t);
template void logsumexp(const float*, float*, std::int64_t, std::int64_t, std::int64_t);
template void logsumexp(const double*, double*, std::int64_t, std::int64_t, std::int64_t);
template void logsumexp_backward(const float*, const float*, const float*, float*, std::int64_t, std::int64_t,
                                 std::int64_t);
template void logsumexp_backward(const double*, const double*, const double*, double*, std::int64_t, std::int64_t,
                                 std::int64_t);

}  // namespace retort::kernels
