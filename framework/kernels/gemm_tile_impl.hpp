// The register tiles of a matrix product. Only gemm.cpp includes this file: in the unnamed namespace, the
// compiler drops the arguments that a tile does not use.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "retort/framework/kernels/gemm.hpp"
#include "retort/framework/kernels/micro_kernel_impl.hpp"

namespace retort::kernels {
namespace {

/// The strides of op(A) and op(B): A[i, p] = a[i·row + p·step], B[p, j] = b[p·step + j·column]. One
/// stride of each pair is 1.
template <class T>
struct Product {
  const T* a;
  std::int64_t a_row, a_step;
  const T* b;
  std::int64_t b_step, b_column;
  std::int64_t m, n, k;
  T alpha, beta;
  const T* bias;  // [n] to add, or null
  T* c;
  std::int64_t ldc;
  Upcoming upcoming = {};
  std::int64_t most_steps = 0;  // of a panel
};

/// Tasks of a tile in addition to its sums.
enum class Also { nothing, copy, fetch };

/// Memory to fetch during a tile: a few cache lines before each `segment` of its steps.
struct Fetches {
  const std::byte* first;
  std::int64_t segment;
};

/// Spreads the upcoming memory over the tiles of a product. A tile waits for its own loads if too many others
/// are in flight.
class Prefetcher {
 public:
  /// Cache lines at a time, and their bytes.
  static constexpr std::int64_t burst = 4, line = 64;

  Prefetcher(const Upcoming& upcoming, std::int64_t tiles, std::int64_t depth) {
    std::int64_t lines = 0;
    for (const Upcoming::Range& range : upcoming.ranges)
      if (range.bytes > 0) {
        ranges_[count_++] = range;
        lines += range.bytes / line;
      }
    if (count_ == 0) return;
    // Segments of few steps would cost more than they save.
    const std::int64_t bursts = std::min(lines / (tiles * burst) + 1, depth / 8 + 1);
    segment_ = (depth / bursts + 3) / 4 * 4;
    bytes_ = (depth + segment_ - 1) / segment_ * burst * line;
  }
  bool is_done() const { return next_ == count_; }
  /// The share of the next tile.
  Fetches take() {
    Upcoming::Range& range = ranges_[next_];
    const auto* const first = static_cast<const std::byte*>(range.begin);
    range = {first + bytes_, range.bytes - bytes_};
    if (range.bytes <= 0) ++next_;
    return {first, segment_};
  }

 private:
  Upcoming::Range ranges_[3];
  int count_ = 0, next_ = 0;
  std::int64_t segment_ = 0, bytes_ = 0;
};

/// C = alpha·sum + beta·C + bias for one register of columns.
template <class T>
inline void write(const Product<T>& of, std::int64_t row, std::int64_t column, const Batch<T>& sum, T beta,
                  const Batch<T>& bias) {
  const std::int64_t count = std::min(lanes<T>, of.n - column);
  T* c = of.c + row * of.ldc + column;
  Batch<T> v = fma<T>(sum, Batch<T>(of.alpha), bias);
  if (beta != T{0}) v = fma<T>(Batch<T>(beta), load_lanes(c, count, T{0}), v);
  store_lanes(c, v, count);
}
template <class T>
inline Batch<T> bias_of(const Product<T>& of, std::int64_t column, bool wanted) {
  return wanted && of.bias != nullptr ? load_lanes(of.bias + column, std::min(lanes<T>, of.n - column), T{0})
                                      : Batch<T>(T{0});
}

/// The elements [*][step] of a block of A or B: the first one, and the strides of steps and elements.
template <class T>
struct Panel {
  const T* elements;
  std::int64_t step, apart;
};

/// The slow path of tile(), at the right edge of C or with beta != 0: writes sums [rows][registers].
template <class T>
[[gnu::noinline]] void write_edge(const Product<T>& of, std::int64_t row, std::int64_t column, bool starts,
                                  const Batch<T>* sums, std::int64_t rows, std::int64_t registers) {
  for (std::int64_t j = 0; j < registers; ++j) {
    const std::int64_t at = column + j * lanes<T>;
    const Batch<T> bias = bias_of(of, at, starts);
    for (std::int64_t i = 0; i < rows; ++i)
      write(of, row + i, at, sums[i * registers + j], starts ? of.beta : T{1}, bias);
  }
}

/// Rows x Registers sums over `depth` steps of rows of A and adjacent columns of B; `starts` is true for the
/// first steps. The columns may also be written to `copy`.
/// Not inlined, since the loop would run out of registers in a larger function.
template <int Rows, int Registers, Also Does, class T>
[[gnu::flatten, gnu::noinline]] void tile(const Product<T>& of, std::int64_t row, std::int64_t column,
                                          bool starts, std::int64_t depth, const Panel<T>& of_a,
                                          const Panel<T>& of_b, [[maybe_unused]] T* copy,
                                          [[maybe_unused]] const Fetches& fetches) {
  Batch<T> sums[Rows][Registers];
  T* const c = of.c + row * of.ldc + column;
  unrolled<Rows>([&](auto i) {
    unrolled<Registers>([&](auto j) {
      sums[i][j] = Batch<T>(T{0});
      if (!starts) __builtin_prefetch(c + i * of.ldc + j * lanes<T>, 1);
    });
  });
  const T *a = of_a.elements, *b = of_b.elements;
  const std::int64_t a_step = of_a.step, a_row = of_a.apart, b_step = of_b.step;
  const std::int64_t segment = Does == Also::fetch ? fetches.segment : depth;
  [[maybe_unused]] const std::byte* line = Does == Also::fetch ? fetches.first : nullptr;
  for (std::int64_t left = depth; left > 0; left -= segment) {
    if constexpr (Does == Also::fetch)
      for (int i = 0; i < Prefetcher::burst; ++i, line += Prefetcher::line) __builtin_prefetch(line, 0, 2);
#pragma GCC unroll 4
    for (std::int64_t p = std::min(left, segment); p > 0; --p, a += a_step, b += b_step) {
      Batch<T> columns[Registers];
      unrolled<Registers>([&](auto j) { columns[j] = load(b + j * lanes<T>); });
      if constexpr (Does == Also::copy) {
        unrolled<Registers>([&](auto j) {
          store(copy + j * lanes<T>, columns[j]);
          prefetch(b + 16 * b_step + j * lanes<T>);  // the hardware follows no rows that are far apart
        });
        copy += Registers * lanes<T>;
      }
      unrolled<Rows>([&](auto i) {
        const Batch<T> factor(a[i * a_row]);
        unrolled<Registers>([&](auto j) { sums[i][j] = fma<T>(factor, columns[j], sums[i][j]); });
      });
    }
  }
  if (column + Registers * lanes<T> > of.n || (starts && of.beta != T{0})) {
    Batch<T> copies[Rows][Registers];
    unrolled<Rows>([&](auto i) { unrolled<Registers>([&](auto j) { copies[i][j] = sums[i][j]; }); });
    return write_edge(of, row, column, starts, copies[0], Rows, Registers);
  }
  const Batch<T> alpha(of.alpha);
  const std::int64_t ldc = of.ldc;
  unrolled<Registers>([&](auto j) {
    const bool biased = starts && of.bias != nullptr;
    const Batch<T> bias = biased ? load(of.bias + column + j * lanes<T>) : Batch<T>(T{0});
    unrolled<Rows>([&](auto i) {
      T* const at = c + i * ldc + j * lanes<T>;
      store<T>(at, fma<T>(sums[i][j], alpha, starts ? bias : load(at)));
    });
  });
}

}  // namespace
}  // namespace retort::kernels
