#include "retort/framework/kernels/strided.hpp"

#include <algorithm>
#include <array>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/rows_impl.hpp"

namespace retort::kernels {
namespace {

constexpr std::int64_t grain = 16384;               // elements
constexpr std::int64_t block = 64;                  // rows and columns of a block of a transpose
constexpr std::int64_t few = 4, long_block = 1024;  // with few rows or columns, the others of a block

/// y [n] from x [n] with a stride.
template <class T>
void copy_row(const T* x, std::int64_t stride, T* y, std::int64_t n) {
  if (stride == 1)
    std::copy_n(x, n, y);
  else if (stride == 0)
    std::fill_n(y, n, *x);
  else if (stride == -1)  // with a constant stride the loop is vectorised
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[-i];
  else if (stride == 2)
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i * 2];
  else
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i * stride];
}

/// y [count, N] = transpose of x [N, count], as of an image with N channels. A constant N is vectorised.
template <int N, class T>
void interleave(const T* __restrict x, std::int64_t stride, T* __restrict y, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i)
    for (std::int64_t k = 0; k < N; ++k) y[i * N + k] = x[k * stride + i];
}
/// The reverse: y [N, count] = transpose of x [count, N].
template <int N, class T>
void separate(const T* __restrict x, T* __restrict y, std::int64_t stride, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i)
    for (std::int64_t k = 0; k < N; ++k) y[k * stride + i] = x[i * N + k];
}

/// One block of a transpose: y [rows, n] with row stride y_stride from x [n, rows] with row stride `stride`.
template <class T>
void transpose_block(const T* x, std::int64_t stride, T* y, std::int64_t y_stride, std::int64_t rows,
                     std::int64_t n) {
  const auto of_few = [&]<int N>() {
    if (n == N && y_stride == N) return interleave<N>(x, stride, y, rows), true;
    if (rows == N && stride == N) return separate<N>(x, y, y_stride, n), true;
    return false;
  };
  if (of_few.template operator()<2>() || of_few.template operator()<3>() || of_few.template operator()<4>())
    return;
  if constexpr (std::is_same_v<T, std::int64_t>) {
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < n; ++j) y[i * y_stride + j] = x[j * stride + i];
  } else {
    transpose(x, stride, n, rows, y, y_stride);
  }
}

}  // namespace

template <class T>
void strided_copy(const T* x, T* y, int rank, const std::int64_t* extents, const std::int64_t* strides) {
  // Drops dimensions of extent 1 and merges adjacent dimensions with matching strides.
  std::array<std::int64_t, 8> extent{}, stride{};
  int dims = 0;
  std::int64_t size = 1;
  for (int d = 0; d < rank; ++d) {
    size *= extents[d];
    if (extents[d] == 1) continue;
    if (dims > 0 && stride[dims - 1] == strides[d] * extents[d]) {
      extent[dims - 1] *= extents[d];
      stride[dims - 1] = strides[d];
    } else {
      extent[dims] = extents[d];
      stride[dims] = strides[d];
      ++dims;
    }
  }
  if (size == 0) return;
  if (dims == 0) {
    *y = *x;
    return;
  }
  const std::int64_t n = extent[dims - 1], along = stride[dims - 1];
  // If x is contiguous along a dimension other than the last one, the two form a transpose.
  int down = -1;
  if (along != 0 && along != 1)
    for (int d = 0; d < dims - 1; ++d)
      if (stride[d] == 1) down = d;
  if (dims == 1) {
    parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
      copy_row(x + begin * along, along, y + begin, end - begin);
    });
    return;
  }
  if (down < 0) {
    parallel_for(size / n, std::max<std::int64_t>(1, grain / n), [&](std::int64_t begin, std::int64_t end) {
      std::array<std::int64_t, 8> at{};
      std::int64_t from = 0, rest = begin;
      for (int d = dims - 2; d >= 0; --d) {
        at[d] = rest % extent[d];
        from += at[d] * stride[d];
        rest /= extent[d];
      }
      for (std::int64_t row = begin; row < end; ++row) {
        copy_row(x + from, along, y + row * n, n);
        for (int d = dims - 2; d >= 0; --d) {
          from += stride[d];
          if (++at[d] < extent[d]) break;
          from -= at[d] * stride[d];
          at[d] = 0;
        }
      }
    });
    return;
  }
  const std::int64_t rows = extent[down];
  std::int64_t y_stride = 1;
  for (int d = down + 1; d < dims; ++d) y_stride *= extent[d];
  // The work items: all other dimensions, and the blocks of the transpose.
  const std::int64_t height = n <= few ? long_block : block, width = rows <= few ? long_block : block;
  const std::int64_t row_blocks = (rows + height - 1) / height, column_blocks = (n + width - 1) / width,
                     blocks = size / (n * rows) * row_blocks * column_blocks;
  const std::int64_t item = std::min(n, width) * std::min(rows, height);
  // Few ranges, since threads that write adjacent parts of the same rows slow each other down.
  parallel_for(blocks, std::max({std::int64_t{1}, grain / item, blocks / 32}),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) {
                   const std::int64_t column = i % column_blocks * width,
                                      row = i / column_blocks % row_blocks * height;
                   std::int64_t rest = i / column_blocks / row_blocks, from = 0, to = 0, y_step = n;
                   for (int d = dims - 2; d >= 0; --d) {
                     if (d != down) {
                       from += rest % extent[d] * stride[d];
                       to += rest % extent[d] * y_step;
                       rest /= extent[d];
                     }
                     y_step *= extent[d];
                   }
                   transpose_block(x + from + row + column * along, along, y + to + row * y_stride + column,
                                   y_stride, std::min(height, rows - row), std::min(width, n - column));
                 }
               });
}

template void strided_copy(const float*, float*, int, const std::int64_t*, const std::int64_t*);
template void strided_copy(const double*, double*, int, const std::int64_t*, const std::int64_t*);
template void strided_copy(const std::int64_t*, std::int64_t*, int, const std::int64_t*, const std::int64_t*);

}  // namespace retort::kernels
