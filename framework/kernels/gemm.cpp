#include "retort/framework/kernels/gemm.hpp"

#include <cblas.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <type_traits>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/gemm_tile_impl.hpp"

// OpenBLAS has this function, other libraries do not.
extern "C" __attribute__((weak)) void openblas_set_num_threads(int threads);
extern "C" __attribute__((weak)) int openblas_get_parallel();

namespace retort::kernels {
namespace {

// ---- Panel-by-panel product, for all but the narrowest shapes.

// Maximum number of rows of a packed A, and of panels in a block of B.
constexpr std::int64_t block_rows = 2048, most_panels = 32;
// Bytes of a block of panels. It stays in the second-level cache or, if only few rows use it, in the
// first-level cache, where it was packed.
constexpr std::int64_t block_bytes = 1 << 19, low_block_bytes = 1 << 14, few_rows = 256;
// Minimum number of rows for which copying a row-major B into contiguous panels pays off: fewer for narrow
// panels.
constexpr std::int64_t copied_rows = panel_registers == 4 ? 128 : 32;
// Rows of a tile of dot products.
constexpr int dot_rows = panel_registers == 4 ? 6 : 3;
// A column-major A is packed if it exceeds both numbers of steps and elements.
constexpr std::int64_t unpacked_depth = 64, unpacked_size = 1 << 16;

/// Packs rows [begin, end) of a column-major A for `depth` steps from `first` on: tile by tile, with the
/// elements of one step contiguous. Processes a few steps at a time, whose cache lines serve several tiles.
template <class T>
void pack_a(const Product<T>& of, std::int64_t begin, std::int64_t end, std::int64_t first,
            std::int64_t depth, T* packed) {
  constexpr std::int64_t steps = 16;
  const T* const rows = of.a + first * of.a_step;
  for (std::int64_t from = 0; from < depth; from += steps)
    for_low_tiles(begin, end, [=, a_step = of.a_step]<int Rows>(std::int64_t row) {
      const T* a = rows + row + from * a_step;
      T* to = packed + (row - begin) * depth + from * Rows;
      const auto copy = [&] {
        std::memcpy(to, a, Rows * sizeof(T));  // inlined, as opposed to copy_n
        __builtin_prefetch(a + steps * a_step, 0, 2);
        a += a_step, to += Rows;
      };
      if (depth - from >= steps) {
        unrolled<steps>([&](auto) { copy(); });
      } else {
        for (std::int64_t p = from; p < depth; ++p) copy();
      }
    });
}

/// Packs columns of B, zero-padded: [depth][width].
template <class T>
void pack_b(const Product<T>& of, const T* b, std::int64_t columns, std::int64_t width, std::int64_t depth,
            T* panel) {
  if (of.b_column != 1) {
    if (columns < width) std::fill_n(panel, depth * width, T{0});
    transpose(b, of.b_column, columns, depth, panel, width);
  } else {
    for (std::int64_t p = 0; p < depth; ++p)
      for (std::int64_t i = 0; i < columns; i += lanes<T>)
        store(panel + p * width + i,
              load_lanes(b + p * of.b_step + i, std::min(lanes<T>, columns - i), T{0}));
  }
}

/// Adjacent registers of columns of B. The first tile that reads them also writes them to `copy`, unless it
/// is null.
template <class T>
struct Columns {
  std::int64_t first, registers;
  Panel<T> b;
  T* copy;
};

/// Multiplies all panels with the rows of a tile.
template <int Rows, class T>
void tiles(const Product<T>& of, std::int64_t row, bool starts, std::int64_t depth, const Panel<T>& of_a,
           Columns<T>* panel, const Columns<T>* end, Prefetcher& prefetcher) {
  for (; panel != end; ++panel) {
    unrolled<panel_registers>([&](auto fewer) {
      constexpr int registers = panel_registers - fewer;
      if (panel->registers != registers) return;
      const auto run = [&]<Also Does>(const Fetches& fetches) {
        tile<Rows, registers, Does>(of, row, panel->first, starts, depth, of_a, panel->b, panel->copy,
                                    fetches);
      };
      if constexpr (Rows >= low_rows - 1) {
        if constexpr (registers == panel_registers)
          if (panel->copy != nullptr) {
            run.template operator()<Also::copy>({});
            panel->b = {panel->copy, panel_registers * lanes<T>, 1};
            panel->copy = nullptr;
            return;
          }
        if (!prefetcher.is_done()) return run.template operator()<Also::fetch>(prefetcher.take());
      }
      run.template operator()<Also::nothing>({});
    });
  }
}

/// True if few panels contain all columns of a B, and each row of A is contiguous.
template <class T>
bool is_narrow(const Product<T>& of) {
  return of.n <= 2 * panel_registers * lanes<T> && of.a_step == 1;
}
/// True if a row-major B is not copied because A has few rows.
template <class T>
bool reads_in_place(const Product<T>& of) {
  return !is_narrow(of) && of.m < copied_rows && of.b_column == 1;
}

/// Maximum number of steps of a panel of B. The bits depend on it, so it is that of the whole product in each
/// strip.
template <class T>
std::int64_t most_steps_of(const Product<T>& of) {
  constexpr std::int64_t fill = 2048 / sizeof(T);  // of the first-level cache
  if (is_narrow(of)) return 4 * fill;              // from the second-level cache, so that A is read once
  return reads_in_place(of) ? 64 : fill;           // the rows of 64 steps stay in the second-level cache
}

/// The product by blocks of panels of B, which are packed where that pays off and stay in cache while all
/// rows are multiplied with them.
template <class T>
void panel_product(const Product<T>& of) {
  const auto parts_of = [](std::int64_t n, std::int64_t most) { return (n + most - 1) / most; };
  constexpr std::int64_t width = panel_registers * lanes<T>;
  const bool packs_a = of.a_row == 1 && of.a_step != 1 && of.n > width && of.k > unpacked_depth &&
                       of.m * of.k > unpacked_size,
             copies = of.m >= copied_rows;
  const std::int64_t deepest = parts_of(of.k, parts_of(of.k, of.most_steps)), panel_size = width * deepest,
                     highest = packs_a ? parts_of(of.m, parts_of(of.m, block_rows)) : of.m,
                     registers = parts_of(of.n, lanes<T>),
                     block = (of.m > few_rows ? block_bytes : low_block_bytes) / sizeof(T),
                     most = copies ? std::clamp<std::int64_t>(block / panel_size, 1, most_panels) : 1;
  T* const buffer = scratch<T>(most * panel_size + (packs_a ? highest * deepest : 0));
  T* const packed = buffer + most * panel_size;
  const std::int64_t panel_count = parts_of(of.n, width), tile_count = parts_of(of.m, low_rows) * panel_count;
  // A narrow product waits for A, and one of few rows for B, unless the next part is fetched in time.
  const bool fetches_a = is_narrow(of) && of.a_row == of.k && is_far<T>(of.m * of.k),
             fetches_b = reads_in_place(of) && of.b_step <= 2 * of.n && is_far<T>(of.n * of.k);
  const auto range_of = [](const T* first, std::int64_t elements) {
    return Upcoming{{{first, elements * static_cast<std::int64_t>(sizeof(T))}}};
  };
  Prefetcher prefetcher(of.upcoming, tile_count * parts_of(of.k, deepest), deepest);
  for (std::int64_t begin = 0; begin < of.m; begin += highest) {
    const std::int64_t end = std::min(of.m, begin + highest);
    for (std::int64_t first = 0; first < of.k; first += deepest) {
      const std::int64_t depth = std::min(deepest, of.k - first);
      if (packs_a) pack_a(of, begin, end, first, depth, packed);
      if (fetches_b) {
        const std::int64_t next = first + depth, steps = std::min(deepest, of.k - next);
        prefetcher =
            Prefetcher(steps > 0 ? range_of(of.b + next * of.b_step, steps * of.b_step) : of.upcoming,
                       tile_count, depth);
      }
      for (std::int64_t at = 0; at < registers;) {
        Columns<T> panels[most_panels];
        std::int64_t count = 0;
        for (std::int64_t wide; count < most && at < registers; at += wide, ++count) {
          // A last panel of one register would have too few sums to hide their latency.
          wide = std::min<std::int64_t>(panel_registers, registers - at);
          if (registers - at == panel_registers + 1) wide = (panel_registers + 2) / 2;
          const std::int64_t column = at * lanes<T>, columns = std::min(wide * lanes<T>, of.n - column);
          T* const place = buffer + count * panel_size;
          Panel<T> of_b{of.b + first * of.b_step + column * of.b_column, of.b_step, 1};
          const bool packs_b = of.b_column != 1 || columns < wide * lanes<T>;
          if (packs_b) {
            pack_b(of, of_b.elements, columns, wide * lanes<T>, depth, place);
            of_b = {place, wide * lanes<T>, 1};
          }
          panels[count] = {column, wide, of_b, copies && !packs_b ? place : nullptr};
        }
        for_low_tiles(begin, end, [&]<int Rows>(std::int64_t row) {
          const Panel<T> of_a =
              packs_a ? Panel<T>{packed + (row - begin) * depth, Rows, 1}
                      : Panel<T>{of.a + row * of.a_row + first * of.a_step, of.a_step, of.a_row};
          if (fetches_a)
            prefetcher = Prefetcher(range_of(of.a + (row + Rows) * of.k, Rows * of.k), panel_count, depth);
          tiles<Rows>(of, row, first == 0, depth, of_a, panels, panels + count, prefetcher);
        });
      }
    }
  }
}

/// Rows x Columns dot products of rows of A and columns of B, which are both contiguous along k. With
/// `fetches`, the following rows of A are prefetched.
template <int Rows, int Columns, class T>
[[gnu::flatten, gnu::noinline]] void dot_tile(const Product<T>& of, std::int64_t row, std::int64_t column,
                                              bool fetches) {
  Batch<T> sums[Rows][Columns];
  unrolled<Rows>([&](auto i) { unrolled<Columns>([&](auto j) { sums[i][j] = Batch<T>(T{0}); }); });
  const std::int64_t a_row = of.a_row, b_column = of.b_column;
  const T *a = of.a + row * a_row, *b = of.b + column * b_column;
  const auto add = [&](auto read) {
    Batch<T> columns[Columns];
    unrolled<Columns>([&](auto j) { columns[j] = read(b + j * b_column); });
    unrolled<Rows>([&](auto i) {
      if (fetches) prefetch(a + (Rows + i) * a_row);
      const Batch<T> v = read(a + i * a_row);
      unrolled<Columns>([&](auto j) { sums[i][j] = fma<T>(v, columns[j], sums[i][j]); });
    });
  };
  const std::int64_t rest = of.k % lanes<T>;
  for (const T* const end = a + of.k - rest; a != end; a += lanes<T>, b += lanes<T>)
    add([](const T* x) { return load(x); });
  if (rest > 0) add([&](const T* x) { return load_partial(x, rest, T{0}); });
  unrolled<Rows>([&](auto i) {
    unrolled<Columns>([&](auto j) {
      T& c = of.c[(row + i) * of.ldc + column + j];
      const T sum = of.alpha * sum_lanes<T>(sums[i][j]) + (of.bias != nullptr ? of.bias[column + j] : T{0});
      c = of.beta == T{0} ? sum : of.beta * c + sum;
    });
  });
}

/// A product of an A and a B that are contiguous along k, without transposing B. The outer loop is over the
/// larger matrix, which is read once; for few rows it is over rows, so that the height of a tile is selected
/// once.
template <class T>
void dot_products(const Product<T>& of) {
  const bool fetches = is_far<T>(of.m * of.k);
  const auto for_columns = [&](auto f) {
    std::int64_t column = 0;
    for (; column + 4 <= of.n; column += 4) f.template operator()<4>(column);
    for (; column < of.n; ++column) f.template operator()<1>(column);
  };
  if (of.m <= dot_rows || of.m > of.n) {
    for_low_tiles<dot_rows>(0, of.m, [&]<int Rows>(std::int64_t row) {
      for_columns([&]<int Columns>(std::int64_t column) {
        dot_tile<Rows, Columns>(of, row, column, fetches && column == 0);
      });
    });
  } else {
    for_columns([&]<int Columns>(std::int64_t column) {
      for_low_tiles<dot_rows>(
          0, of.m, [&]<int Rows>(std::int64_t row) { dot_tile<Rows, Columns>(of, row, column, false); });
    });
  }
}

/// One row of A times a B stored by rows: sums of B's rows, several registers of columns at a time.
template <class T>
void row_times_matrix(const Product<T>& of) {
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

/// Returns true if a product whose strips have m rows and n columns is computed as dot products.
template <class T>
bool is_of_dots(const Product<T>& of, std::int64_t m, std::int64_t n) {
  // A tile of dot products ends with a sum over the lanes of each, which must cost less than transposing B.
  // Few columns would leave lanes of a panel unused.
  const std::int64_t rows = n <= 16 ? std::min<std::int64_t>(m, 16) : m;
  return (m <= 3 || of.k * lanes<T> >= 256 * rows) && of.b_step == 1 && of.b_column != 1 && of.a_step == 1;
}

template <class T>
void multiply_here(const Product<T>& of, bool by_dots) {
  if (by_dots)
    dot_products(of);
  else if (of.m == 1 && of.b_column == 1)
    row_times_matrix(of);
  else
    panel_product(of);
}

// ---- Large products use the BLAS library where it is faster.

/// Held during a call of the library, which is limited to one thread, since its threads would compete with
/// ours. The sequential build gives the same workspace to two threads that enter at once, with wrong results
/// for both, so calls are serialised; the threaded builds need no lock.
std::unique_lock<std::mutex> enter_library() {
  static std::mutex mutex;
  static const bool sequential = [] {
    if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
    return openblas_get_parallel != nullptr && openblas_get_parallel() == 0;
  }();
  return sequential ? std::unique_lock(mutex) : std::unique_lock<std::mutex>();
}

/// Returns true where the library is faster: with registers narrower than AVX2's, since it selects its
/// kernels at run time.
bool belongs_to_library(std::int64_t m, std::int64_t n, std::int64_t k) {
  return lanes<float> < 8 && m * n * k >= 1 << 22 && std::min({m, n, k}) >= 64;
}

template <class T>
void multiply_by_library(const Product<T>& of) {
  const std::unique_lock lock = enter_library();
  const auto order = [](bool is_transposed) { return is_transposed ? CblasTrans : CblasNoTrans; };
  const auto i = [](std::int64_t size) { return static_cast<blasint>(size); };
  const bool transposed_a = of.a_step != 1, transposed_b = of.b_column != 1;
  const std::int64_t lda = transposed_a ? of.a_step : of.a_row, ldb = transposed_b ? of.b_column : of.b_step;
  // The library adds its product to the bias stored in C; with beta = 0 it would first write zeros.
  const T beta = of.bias != nullptr ? T{1} : of.beta;
  for (std::int64_t row = 0; row < of.m && of.bias != nullptr; ++row)
    std::copy_n(of.bias, of.n, of.c + row * of.ldc);
  const auto call = [&](auto gemm) {
    gemm(CblasRowMajor, order(transposed_a), order(transposed_b), i(of.m), i(of.n), i(of.k), of.alpha, of.a,
         i(lda), of.b, i(ldb), beta, of.c, i(of.ldc));
  };
  if constexpr (std::is_same_v<T, float>)
    call(cblas_sgemm);
  else
    call(cblas_dgemm);
}

/// Maximum number of strips of the longer side of an [m, n] result that threads compute separately, by the
/// amount of work. Each strip packs the other matrix again, so strips are not narrow.
std::int64_t strips_of(std::int64_t m, std::int64_t n, std::int64_t k) {
  constexpr std::int64_t work = 1'500'000;  // minimum per strip
  const auto width = [](std::int64_t strips) { return strips == 1 ? 64 : strips == 2 ? 192 : 512; };
  std::int64_t strips = 1;
  while (2 * strips <= m * n * k / work && 2 * strips * width(strips) <= std::max(m, n)) strips *= 2;
  return strips;
}

template <class T>
void multiply(const Product<T>& of) {
  const bool by_rows = of.m >= of.n, by_library = belongs_to_library(of.m, of.n, of.k);
  const std::int64_t side = std::max(of.m, of.n), unit = by_rows ? low_rows : panel_registers * lanes<T>,
                     units = (side + unit - 1) / unit, most = strips_of(of.m, of.n, of.k);
  const bool by_dots =
      is_of_dots(of, by_rows ? of.m / most : of.m, by_rows ? of.n : (of.n + most - 1) / most);
  // Each strip packs the other matrix again, unless it is an A whose rows are read in place. So there are no
  // more strips than threads; only the library's bits may depend on the strips.
  const bool packs_again = by_rows || of.a_row == 1;
  const std::int64_t strips =
      packs_again && !by_library ? std::min<std::int64_t>(most, get_num_threads()) : most;
  parallel_for(strips, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t begin = units * i / strips * unit,
                         end = std::min(side, units * (i + 1) / strips * unit);
      Product<T> strip = of;
      strip.most_steps = most_steps_of(of);
      (by_rows ? strip.m : strip.n) = end - begin;
      if (i + 1 < strips) strip.upcoming = {};
      if (by_rows) {
        strip.a += begin * of.a_row;
        strip.c += begin * of.ldc;
      } else {
        strip.b += begin * of.b_column;
        strip.c += begin;
        if (of.bias != nullptr) strip.bias += begin;
      }
      if (by_library)
        multiply_by_library(strip);
      else
        multiply_here(strip, by_dots);
    }
  });
}

}  // namespace

template <class T>
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, double alpha,
          const T* a, std::int64_t lda, const T* b, std::int64_t ldb, double beta, T* c, std::int64_t ldc,
          const Upcoming& upcoming) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        c[i * ldc + j] = beta == 0 ? T{0} : static_cast<T>(beta) * c[i * ldc + j];
    return;
  }
  // A single column is the transpose of a row times the transposed A, whose columns fill the registers.
  if (n == 1 && ldc == 1 && m > 1)
    return gemm(!transpose_b, !transpose_a, 1, m, k, alpha, b, ldb, a, lda, beta, c, m);
  multiply(Product<T>{a, transpose_a ? 1 : lda, transpose_a ? lda : 1, b, transpose_b ? 1 : ldb,
                      transpose_b ? ldb : 1, m, n, k, static_cast<T>(alpha), static_cast<T>(beta), nullptr, c,
                      ldc, upcoming});
}

template <class T>
void linear(const T* x, const T* w, const T* bias, T* y, std::int64_t rows, std::int64_t in,
            std::int64_t out) {
  if (rows == 0 || out == 0) return;
  if (in == 0) {
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < out; ++j) y[i * out + j] = bias == nullptr ? T{0} : bias[j];
    return;
  }
  multiply(Product<T>{x, in, 1, w, 1, in, rows, out, in, T{1}, T{0}, bias, y, out});
}

template void gemm(bool, bool, std::int64_t, std::int64_t, std::int64_t, double, const float*, std::int64_t,
                   const float*, std::int64_t, double, float*, std::int64_t, const Upcoming&);
template void gemm(bool, bool, std::int64_t, std::int64_t, std::int64_t, double, const double*, std::int64_t,
                   const double*, std::int64_t, double, double*, std::int64_t, const Upcoming&);
template void linear(const float*, const float*, const float*, float*, std::int64_t, std::int64_t,
                     std::int64_t);
template void linear(const double*, const double*, const double*, double*, std::int64_t, std::int64_t,
                     std::int64_t);

}  // namespace retort::kernels
