#include "retort/framework/kernels/gemm.hpp"

#include <cblas.h>

#include <algorithm>
#include <type_traits>

#include "retort/framework/kernels/parallel.hpp"

#if defined(__GNUC__)
// Only some builds of OpenBLAS have it, other libraries don't.
extern "C" __attribute__((weak)) void openblas_set_num_threads(int threads);
#endif

namespace retort::kernels {
namespace {

constexpr double flops_per_chunk = 4e6;    // some forty microseconds
constexpr std::int64_t shortest_chunk = 64;  // rows or columns: below, packing the other matrix costs too much

/// The library's own threads would fight with ours.
void one_thread() {
  [[maybe_unused]] static const bool done = [] {
    if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
    return true;
  }();
}

template <class T>
void product(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, double alpha, const T* a,
             std::int64_t lda, const T* b, std::int64_t ldb, double beta, T* c, std::int64_t ldc) {
  const auto op_a = transpose_a ? CblasTrans : CblasNoTrans, op_b = transpose_b ? CblasTrans : CblasNoTrans;
  const auto i = [](std::int64_t size) { return static_cast<blasint>(size); };
  if constexpr (std::is_same_v<T, float>)
    cblas_sgemm(CblasRowMajor, op_a, op_b, i(m), i(n), i(k), static_cast<float>(alpha), a, i(lda), b, i(ldb),
                static_cast<float>(beta), c, i(ldc));
  else
    cblas_dgemm(CblasRowMajor, op_a, op_b, i(m), i(n), i(k), alpha, a, i(lda), b, i(ldb), beta, c, i(ldc));
}

/// Calls f(row, rows, column, columns) for the parts of an [m, n] result that threads compute apart: strips
/// of its longer side, as many as the work is worth.
template <class F>
void for_strips(std::int64_t m, std::int64_t n, std::int64_t k, F f) {
  const std::int64_t side = std::max(m, n);
  const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  std::int64_t strips = static_cast<std::int64_t>(std::min(flops / flops_per_chunk, 1e6));
  strips = std::max<std::int64_t>(1, std::min(strips, side / shortest_chunk));
  const std::int64_t strip = (side / strips + 15) / 16 * 16;
  parallel_for(side, strip, [&](std::int64_t begin, std::int64_t end) {
    if (m >= n) f(begin, end - begin, std::int64_t{0}, n);
    else f(std::int64_t{0}, m, begin, end - begin);
  });
}

}  // namespace

template <class T>
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, double alpha, const T* a,
          std::int64_t lda, const T* b, std::int64_t ldb, double beta, T* c, std::int64_t ldc) {
  if (m == 0 || n == 0) return;
  one_thread();
  if (k == 0) {
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        c[i * ldc + j] = beta == 0 ? T{0} : static_cast<T>(beta) * c[i * ldc + j];
    return;
  }
  for_strips(m, n, k, [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
    product(transpose_a, transpose_b, rows, columns, k, alpha, a + (transpose_a ? row : row * lda), lda,
            b + (transpose_b ? column * ldb : column), ldb, beta, c + row * ldc + column, ldc);
  });
}

template <class T>
void linear(const T* x, const T* w, const T* bias, T* y, std::int64_t rows, std::int64_t in, std::int64_t out) {
  if (rows == 0 || out == 0) return;
  one_thread();
  for_strips(rows, out, in, [&](std::int64_t row, std::int64_t count, std::int64_t column, std::int64_t columns) {
    // The product is added to the bias that stands there: with beta = 0 the library would write zeros first.
    T* result = y + row * out + column;
    for (std::int64_t i = 0; i < count; ++i) {
      if (bias != nullptr) std::copy_n(bias + column, columns, result + i * out);
      else if (in == 0) std::fill_n(result + i * out, columns, T{0});
    }
    if (in > 0)
      product(false, true, count, columns, in, 1.0, x + row * in, in, w + column * in, in, bias != nullptr ? 1.0 : 0.0,
              result, out);
  });
}

template void gemm(bool, bool, std::int64_t, std::int64_t, std::int64_t, double, const float*, std::int64_t, const float*,
                   std::int64_t, double, float*, std::int64_t);
template void gemm(bool, bool, std::int64_t, std::int64_t, std::int64_t, double, const double*, std::int64_t,
                   const double*, std::int64_t, double, double*, std::int64_t);
template void linear(const float*, const float*, const float*, float*, std::int64_t, std::int64_t, std::int64_t);
template void linear(const double*, const double*, const double*, double*, std::int64_t, std::int64_t, std::int64_t);

}  // namespace retort::kernels
