// Matrix products, split into strips by shape so that the bits do not depend on the number of threads.
// Explicitly instantiated for float and double.
#pragma once

#include <cstdint>

namespace retort::kernels {

/// Memory that the next product will use, fetched into the second-level cache during the tiles of this one:
/// up to three contiguous ranges.
struct Upcoming {
  struct Range {
    const void* begin = nullptr;
    std::int64_t bytes = 0;
  };
  Range ranges[3] = {};
};

/// C [m, n] = alpha · op(A) · op(B) + beta · C, row-major; op(A) is [m, k], op(B) is [k, n], where op
/// optionally transposes. lda, ldb, ldc are the row lengths as stored. With beta = 0, C is not read. k = 0
/// gives beta · C.
template <class T>
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, double alpha,
          const T* a, std::int64_t lda, const T* b, std::int64_t ldb, double beta, T* c, std::int64_t ldc,
          const Upcoming& upcoming = {});

/// y [rows, out] = x [rows, in] · w [out, in]ᵀ + bias [out] (or null); the bias is added while y is in cache.
template <class T>
void linear(const T* x, const T* w, const T* bias, T* y, std::int64_t rows, std::int64_t in,
            std::int64_t out);

}  // namespace retort::kernels
