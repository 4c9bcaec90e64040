#include "retort/framework/kernels/gemm.hpp"

#include <cblas.h>

#include <algorithm>
#include <mutex>
#include <type_traits>

#include "retort/framework/kernels/parallel.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

// OpenBLAS has them, other libraries don't.
extern "C" __attribute__((weak)) void openblas_set_num_threads(int threads);
extern "C" __attribute__((weak)) int openblas_get_parallel();

namespace retort::kernels {
namespace {

// ---- Small products. The library spends as long on its own arrangements as on them.

constexpr int tile_rows = 6;               // with two registers of columns: twelve sums
constexpr std::int64_t panel_depth = 256;  // a panel of two registers of columns stays in the first cache

/// Where op(A) and op(B) find their elements: A[i, p] = a[i·row + p·step], B[p, j] = b[p·step + j·column].
template <class T>
struct Small {
  const T* a;
  std::int64_t a_row, a_step;
  const T* b;
  std::int64_t b_step, b_column;
  std::int64_t m, n, k;
  T alpha, beta;
  const T* bias;  // [n], added, or null
  T* c;
  std::int64_t ldc;
};

/// C = alpha·sum + beta·C + bias for one register of columns.
template <class T>
inline void write(const Small<T>& of, std::int64_t row, std::int64_t column, const Batch<T>& sum, T beta,
                  const Batch<T>& bias) {
  const std::int64_t count = std::min(lanes<T>, of.n - column);
  T* c = of.c + row * of.ldc + column;
  Batch<T> v = fma<T>(sum, Batch<T>(of.alpha), bias);
  if (beta != T{0}) v = fma<T>(Batch<T>(beta), load_lanes(c, count, T{0}), v);
  store_lanes(c, v, count);
}
template <class T>
inline Batch<T> bias_of(const Small<T>& of, std::int64_t column, bool wanted) {
  return wanted && of.bias != nullptr ? load_lanes(of.bias + column, std::min(lanes<T>, of.n - column), T{0})
                                      : Batch<T>(T{0});
}

/// Rows x Registers sums over `depth` steps; `panel` holds the columns' elements of step p at p·panel_step.
template <int Rows, int Registers, class T>
void tile(const Small<T>& of, std::int64_t row, std::int64_t column, std::int64_t first, std::int64_t depth,
          const T* panel, std::int64_t panel_step) {
  Batch<T> sums[Rows][Registers];
  for (auto& of_row : sums)
    for (Batch<T>& sum : of_row) sum = Batch<T>(T{0});
  const T* a = of.a + row * of.a_row + first * of.a_step;
  for (std::int64_t p = 0; p < depth; ++p) {
    Batch<T> b[Registers];
    for (int j = 0; j < Registers; ++j) b[j] = load(panel + p * panel_step + j * lanes<T>);
    for (int i = 0; i < Rows; ++i) {
      const Batch<T> factor(a[i * of.a_row + p * of.a_step]);
      for (int j = 0; j < Registers; ++j) sums[i][j] = fma<T>(factor, b[j], sums[i][j]);
    }
  }
  for (int j = 0; j < Registers && column + j * lanes<T> < of.n; ++j) {
    const Batch<T> bias = bias_of(of, column + j * lanes<T>, first == 0);
    for (int i = 0; i < Rows; ++i)
      write(of, row + i, column + j * lanes<T>, sums[i][j], first == 0 ? of.beta : T{1}, bias);
  }
}

template <int Registers, class T>
void tiles(const Small<T>& of, std::int64_t column, std::int64_t first, std::int64_t depth, const T* panel,
           std::int64_t panel_step) {
  const std::int64_t count = (of.m + tile_rows - 1) / tile_rows;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = of.m * i / count, rows = of.m * (i + 1) / count - row;  // all about as high
    const auto run = [&]<int Rows>() {
      tile<Rows, Registers>(of, row, column, first, depth, panel, panel_step);
    };
    switch (rows) {
      case 1: run.template operator()<1>(); break;
      case 2: run.template operator()<2>(); break;
      case 3: run.template operator()<3>(); break;
      case 4: run.template operator()<4>(); break;
      case 5: run.template operator()<5>(); break;
      default: run.template operator()<6>(); break;
    }
  }
}

/// Columns of B side by side, zeros behind the last: [depth][two registers].
template <class T>
inline void copy_panel(const Small<T>& of, const T* b, std::int64_t columns, std::int64_t depth, T* panel) {
  constexpr std::int64_t width = 2 * lanes<T>;
  if (of.b_column != 1) {
    if (columns < width) std::fill_n(panel, depth * width, T{0});
    turn(b, of.b_column, columns, depth, panel, width);
  } else if (columns > lanes<T>) {
    for (std::int64_t p = 0; p < depth; ++p) {
      store(panel + p * width, load(b + p * of.b_step));
      store(panel + p * width + lanes<T>, load_lanes(b + p * of.b_step + lanes<T>, columns - lanes<T>, T{0}));
    }
  } else {
    for (std::int64_t p = 0; p < depth; ++p)
      store(panel + p * width, load_lanes(b + p * of.b_step, columns, T{0}));
  }
}

/// The product panel by panel: columns of B side by side in a buffer, then all rows against them.
template <class T>
void small_product(const Small<T>& of) {
  constexpr std::int64_t width = 2 * lanes<T>;
  alignas(64) T buffer[panel_depth * width];
  for (std::int64_t first = 0; first < of.k; first += panel_depth) {
    const std::int64_t depth = std::min(panel_depth, of.k - first);
    for (std::int64_t column = 0; column < of.n; column += width) {
      const std::int64_t columns = std::min(width, of.n - column);
      const T *b = of.b + first * of.b_step + column * of.b_column, *panel = buffer;
      std::int64_t panel_step = width;
      if (of.b_column == 1 && columns == width && of.m <= 2 * tile_rows) {
        panel = b;
        panel_step = of.b_step;
      } else {
        copy_panel(of, b, columns, depth, buffer);
      }
      if (columns > lanes<T>)
        tiles<2>(of, column, first, depth, panel, panel_step);
      else
        tiles<1>(of, column, first, depth, panel, panel_step);
    }
  }
}

/// A product whose op(B) is stored by columns and whose few rows do not pay for turning it: dot products,
/// four columns at a time. A is contiguous along k.
template <class T>
void dot_products(const Small<T>& of) {
  const auto some = [&]<int Columns>(std::int64_t row, std::int64_t column) {
    const T *a = of.a + row * of.a_row, *b = of.b + column * of.b_column;
    Batch<T> sums[Columns];
    for (Batch<T>& sum : sums) sum = Batch<T>(T{0});
    walk<T, 1>(of.k, [&]<int>(std::int64_t p, std::int64_t count) {
      const Batch<T> v = load_lanes(a + p, count, T{0});
      for (int j = 0; j < Columns; ++j)
        sums[j] = fma<T>(v, load_lanes(b + j * of.b_column + p, count, T{0}), sums[j]);
    });
    for (int j = 0; j < Columns; ++j) {
      T& c = of.c[row * of.ldc + column + j];
      const T sum = of.alpha * sum_lanes<T>(sums[j]) + (of.bias != nullptr ? of.bias[column + j] : T{0});
      c = of.beta == T{0} ? sum : of.beta * c + sum;
    }
  };
  for (std::int64_t row = 0; row < of.m; ++row) {
    std::int64_t column = 0;
    for (; column + 4 <= of.n; column += 4) some.template operator()<4>(row, column);
    for (; column < of.n; ++column) some.template operator()<1>(row, column);
  }
}

/// One row of A against a B stored by rows: sums of B's rows, some registers of columns at a time.
template <class T>
void row_times_matrix(const Small<T>& of) {
  const auto some = [&]<int Registers>(std::int64_t column) {
    Batch<T> sums[Registers];
    for (Batch<T>& sum : sums) sum = Batch<T>(T{0});
    for (std::int64_t p = 0; p < of.k; ++p) {
      const Batch<T> factor(of.a[p * of.a_step]);
      const T* b = of.b + p * of.b_step + column;
      if constexpr (Registers == 1)
        sums[0] = fma<T>(factor, load_lanes(b, std::min(lanes<T>, of.n - column), T{0}), sums[0]);
      else
        for (int j = 0; j < Registers; ++j) sums[j] = fma<T>(factor, load(b + j * lanes<T>), sums[j]);
    }
    for (int j = 0; j < Registers; ++j)
      write(of, 0, column + j * lanes<T>, sums[j], of.beta, bias_of(of, column + j * lanes<T>, true));
  };
  std::int64_t column = 0;
  for (; column + 8 * lanes<T> <= of.n; column += 8 * lanes<T>) some.template operator()<8>(column);
  for (; column + 4 * lanes<T> <= of.n; column += 4 * lanes<T>) some.template operator()<4>(column);
  for (; column < of.n; column += lanes<T>) some.template operator()<1>(column);
}

template <class T>
void run_small(const Small<T>& of) {
  if (of.m <= 3 && of.b_step == 1 && of.b_column != 1 && of.a_step == 1)
    dot_products(of);
  else if (of.m == 1 && of.b_column == 1)
    row_times_matrix(of);
  else
    small_product(of);
}

/// Whether the kernels above are faster than the library: measured to hold up to 256 x 256 x 256, and for
/// slim results of any length.
bool is_small(std::int64_t m, std::int64_t n, std::int64_t k) {
  return m * n * k <= std::int64_t{1} << 22 || std::min(m, n) <= 32;
}

// ---- Large products

/// Held for the length of a call into the library. Its own threads would fight with ours: it gets one. Its
/// sequential build hands the same work space to two threads that enter at once, and both get wrong results, so
/// there one call waits for the other; the threaded builds need no lock.
std::unique_lock<std::mutex> enter_library() {
  static std::mutex mutex;
  static const bool sequential = [] {
    if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
    return openblas_get_parallel != nullptr && openblas_get_parallel() == 0;
  }();
  return sequential ? std::unique_lock(mutex) : std::unique_lock<std::mutex>();
}

template <class T>
void large_product(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                   double alpha, const T* a, std::int64_t lda, const T* b, std::int64_t ldb, double beta,
                   T* c, std::int64_t ldc) {
  const std::unique_lock lock = enter_library();
  const auto op_a = transpose_a ? CblasTrans : CblasNoTrans, op_b = transpose_b ? CblasTrans : CblasNoTrans;
  const auto i = [](std::int64_t size) { return static_cast<blasint>(size); };
  if constexpr (std::is_same_v<T, float>)
    cblas_sgemm(CblasRowMajor, op_a, op_b, i(m), i(n), i(k), static_cast<float>(alpha), a, i(lda), b, i(ldb),
                static_cast<float>(beta), c, i(ldc));
  else
    cblas_dgemm(CblasRowMajor, op_a, op_b, i(m), i(n), i(k), alpha, a, i(lda), b, i(ldb), beta, c, i(ldc));
}

/// Calls f(row, rows, column, columns) for the parts of an [m, n] result that threads compute apart: strips
/// of its longer side, as many as the work is worth. Every strip of a large product packs the other matrix
/// anew, so those stay long.
template <class F>
void for_strips(std::int64_t m, std::int64_t n, std::int64_t k, bool small, F f) {
  const std::int64_t side = std::max(m, n), least = small ? 32 : 192,
                     worth = m * n * k / (small ? 1'500'000 : 15'000'000);
  std::int64_t strips = 1;
  while (2 * strips <= worth && 2 * strips * least <= side) strips *= 2;
  const std::int64_t strip = (side / strips + 15) / 16 * 16;
  parallel_for(side, strips == 1 ? side : strip, [&](std::int64_t begin, std::int64_t end) {
    if (m >= n)
      f(begin, end - begin, std::int64_t{0}, n);
    else
      f(std::int64_t{0}, m, begin, end - begin);
  });
}

}  // namespace

template <class T>
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, double alpha,
          const T* a, std::int64_t lda, const T* b, std::int64_t ldb, double beta, T* c, std::int64_t ldc) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        c[i * ldc + j] = beta == 0 ? T{0} : static_cast<T>(beta) * c[i * ldc + j];
    return;
  }
  const bool small = is_small(m, n, k);
  for_strips(m, n, k, small,
             [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
               const T *of_a = a + (transpose_a ? row : row * lda),
                       *of_b = b + (transpose_b ? column * ldb : column);
               T* of_c = c + row * ldc + column;
               if (small)
                 run_small(Small<T>{of_a, transpose_a ? 1 : lda, transpose_a ? lda : 1, of_b,
                                    transpose_b ? 1 : ldb, transpose_b ? ldb : 1, rows, columns, k,
                                    static_cast<T>(alpha), static_cast<T>(beta), nullptr, of_c, ldc});
               else
                 large_product(transpose_a, transpose_b, rows, columns, k, alpha, of_a, lda, of_b, ldb, beta,
                               of_c, ldc);
             });
}

template <class T>
void linear(const T* x, const T* w, const T* bias, T* y, std::int64_t rows, std::int64_t in,
            std::int64_t out) {
  if (rows == 0 || out == 0) return;
  const bool small = in > 0 && is_small(rows, out, in);
  for_strips(rows, out, in, small,
             [&](std::int64_t row, std::int64_t count, std::int64_t column, std::int64_t columns) {
               const T *of_x = x + row * in, *of_w = w + column * in,
                       *of_bias = bias == nullptr ? nullptr : bias + column;
               T* result = y + row * out + column;
               if (small)
                 return run_small(Small<T>{of_x, in, 1, of_w, 1, in, count, columns, in, T{1}, T{0}, of_bias,
                                           result, out});
               // The library adds its product to the bias that stands there; with beta = 0 it would write
               // zeros first.
               for (std::int64_t i = 0; i < count; ++i) {
                 if (bias != nullptr)
                   std::copy_n(of_bias, columns, result + i * out);
                 else if (in == 0)
                   std::fill_n(result + i * out, columns, T{0});
               }
               if (in > 0)
                 large_product(false, true, count, columns, in, 1.0, of_x, in, of_w, in,
                               bias != nullptr ? 1.0 : 0.0, result, out);
             });
}

template void gemm(bool, bool, std::int64_t, std::int64_t, std::int64_t, double, const float*, std::int64_t,
                   const float*, std::int64_t, double, float*, std::int64_t);
template void gemm(bool, bool, std::int64_t, std::int64_t, std::int64_t, double, const double*, std::int64_t,
                   const double*, std::int64_t, double, double*, std::int64_t);
template void linear(const float*, const float*, const float*, float*, std::int64_t, std::int64_t,
                     std::int64_t);
template void linear(const double*, const double*, const double*, double*, std::int64_t, std::int64_t,
                     std::int64_t);

}  // namespace retort::kernels
