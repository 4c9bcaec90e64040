#include "retort/framework/kernels/recurrent.hpp"

#include <algorithm>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/micro_kernel_impl.hpp"
#include "retort/framework/kernels/tiles.hpp"

namespace retort::kernels {
namespace {

// Minimum and maximum number of sequences that one thread processes through all steps. Each step reads all
// weights, so a thread with fewer sequences would wait for memory.
constexpr Index fewest_rows = 4, most_rows = 48;
template <class T>
constexpr Index panel_width = panel_registers * lanes<T>;

/// tanh of each, within a few ulp: t / (t + 2) with t = 1 - e^(-2|x|), accurate for small x.
template <class T, std::size_t K>
[[gnu::always_inline]] inline void tanh_each(std::array<Batch<T>, K>& x) {
  using F = detail::Format<T>;
  constexpr std::size_t terms = F::exp_series.size();
  const Batch<T> magic(static_cast<T>(typename F::Bits{3} << (F::fraction_bits - 1)) + T{2 * F::bias}),
      one(T{1}), two(T{2});
  std::array<Batch<T>, K> shifted, n, r, p;
  for (std::size_t k = 0; k < K; ++k)  // the result is 1 from 20 on
    r[k] = Batch<T>(T{-2}) * min_of<T>(Batch<T>(T{20}), max_of<T>(x[k], -x[k]));
  for (std::size_t k = 0; k < K; ++k) shifted[k] = fma<T>(r[k], Batch<T>(detail::log2_e<T>), magic);
  for (std::size_t k = 0; k < K; ++k) n[k] = shifted[k] - magic;
  for (std::size_t k = 0; k < K; ++k) r[k] = fma<T>(n[k], Batch<T>(-F::ln2_high), r[k]);
  for (std::size_t k = 0; k < K; ++k) r[k] = fma<T>(n[k], Batch<T>(-F::ln2_low), r[k]);
  for (std::size_t k = 0; k < K; ++k) p[k] = Batch<T>(F::exp_series[terms - 1]);
  for (std::size_t i = terms - 1; i-- > 1;)
    for (std::size_t k = 0; k < K; ++k) p[k] = fma<T>(p[k], r[k], Batch<T>(F::exp_series[i]));
  for (std::size_t k = 0; k < K; ++k) {
    const Batch<T> power = detail::times_power_of_2<T>(one, n[k], shifted[k]);
    const Batch<T> t = fma<T>(power * r[k], p[k], power - one);
    const Batch<T> y = t / (t + two);
    x[k] = select(x[k] < Batch<T>(T{0}), y, -y);
  }
}

template <class T, std::size_t K>
[[gnu::always_inline]] inline void sigmoid_each(std::array<Batch<T>, K>& x) {
  for (Batch<T>& v : x) v = -v;
  exp_each<T>(x);
  for (Batch<T>& v : x) v = Batch<T>(T{1}) / (Batch<T>(T{1}) + v);
}
/// The derivatives of sigmoid and tanh in terms of their value y.
template <class T>
Batch<T> sigmoid_slope(const Batch<T>& y) {
  return y * (Batch<T>(T{1}) - y);
}
template <class T>
Batch<T> tanh_slope(const Batch<T>& y) {
  return fma<T>(-y, y, Batch<T>(T{1}));
}

/// One step of one sequence: computes the gates, the state h and, in `inner`, c or the hidden part of n, from
/// the input products in `gates` and the hidden ones in `products`.
template <class T>
void step(const RecurrentShape& of, const T* products, const T* bias, T* gates, T* inner, T* h, T* c, T* y) {
  const Index hidden = of.hidden;
  // Two registers at a time, so that their exponentials overlap.
  walk<T, 2>(hidden, [&]<int K>(Index i, Index count) {
    using Registers = std::array<Batch<T>, K>;
    const auto read = [&](const T* x, int gate) { return load_each<K>(x + gate * hidden + i, count, T{0}); };
    const auto biased = [&](int gate) {
      Registers v = read(products, gate);
      if (bias != nullptr) {
        const Registers b = read(bias, gate);
        for (int k = 0; k < K; ++k) v[k] += b[k];
      }
      return v;
    };
    const auto total = [&](int gate) {
      Registers v = read(gates, gate);
      const Registers added = biased(gate);
      for (int k = 0; k < K; ++k) v[k] += added[k];
      return v;
    };
    const auto write = [&](T* to, int gate, const Registers& v) {
      store_each<T>(to + gate * hidden + i, v, count);
    };
    Registers state;
    if (of.cell == RecurrentCell::lstm) {
      const Registers in = total(0), forget = total(1), out = total(3);
      Registers made = total(2), cell = read(c, 0), t;
      std::array<Batch<T>, 3 * K> open;
      for (int k = 0; k < K; ++k) open[k] = in[k], open[K + k] = forget[k], open[2 * K + k] = out[k];
      sigmoid_each<T>(open);
      tanh_each<T>(made);
      for (int k = 0; k < K; ++k) t[k] = cell[k] = fma<T>(open[K + k], cell[k], open[k] * made[k]);
      tanh_each<T>(t);
      Registers part;
      for (int gate = 0; gate < 3; ++gate) {
        for (int k = 0; k < K; ++k) part[k] = open[gate * K + k];
        write(gates, gate == 2 ? 3 : gate, part);
      }
      for (int k = 0; k < K; ++k) state[k] = part[k] * t[k];
      write(gates, 2, made);
      write(c, 0, cell);
      write(inner, 0, cell);
    } else if (of.cell != RecurrentCell::gru) {
      state = total(0);
      if (of.cell == RecurrentCell::rnn_tanh) {
        tanh_each<T>(state);
      } else {
        for (Batch<T>& v : state) v = select(v <= Batch<T>(T{0}), Batch<T>(T{0}), v);  // NaN propagates
      }
      write(gates, 0, state);
    } else {
      const Registers reset = total(0), keep = total(1), part = biased(2), before = read(h, 0);
      Registers n = read(gates, 2), r, z;
      std::array<Batch<T>, 2 * K> open;
      for (int k = 0; k < K; ++k) open[k] = reset[k], open[K + k] = keep[k];
      sigmoid_each<T>(open);
      for (int k = 0; k < K; ++k) r[k] = open[k], z[k] = open[K + k];
      for (int k = 0; k < K; ++k) n[k] = fma<T>(r[k], part[k], n[k]);
      tanh_each<T>(n);
      for (int k = 0; k < K; ++k) state[k] = fma<T>(z[k], before[k] - n[k], n[k]);
      write(gates, 0, r);
      write(gates, 1, z);
      write(gates, 2, n);
      write(inner, 0, part);
    }
    write(h, 0, state);
    write(y, 0, state);
  });
}

/// The reverse of step(): dh and dc become the gradients of the previous state, except for the part of dh
/// through the weights, which follows from the gradients of the hidden products.
template <class T>
void step_back(const RecurrentShape& of, const T* gates, const T* inner, const T* c_before, const T* h_before,
               const T* dy, T* dh, T* dc, T* dgates, T* dproducts) {
  const Batch<T> zero(T{0}), one(T{1});
  const Index hidden = of.hidden;
  walk<T, 2>(hidden, [&]<int K>(Index i, Index count) {
    using Registers = std::array<Batch<T>, K>;
    const auto read = [&](const T* x, int gate = 0) {
      Registers v;
      v.fill(zero);
      return x == nullptr ? v : load_each<K>(x + gate * hidden + i, count, T{0});
    };
    const auto write = [&](T* to, int gate, const Registers& v) {
      store_each<T>(to + gate * hidden + i, v, count);
    };
    Registers g = read(dh);
    const Registers from_y = read(dy);
    for (int k = 0; k < K; ++k) g[k] += from_y[k];
    if (of.cell == RecurrentCell::lstm) {
      const Registers in = read(gates, 0), forget = read(gates, 1), made = read(gates, 2),
                      out = read(gates, 3), before = read(c_before);
      Registers t = read(inner), d = read(dc), rest;
      std::array<Registers, 4> slopes;
      tanh_each<T>(t);
      for (int k = 0; k < K; ++k) {
        d[k] = fma<T>(g[k] * out[k], tanh_slope<T>(t[k]), d[k]);
        slopes[0][k] = d[k] * made[k] * sigmoid_slope<T>(in[k]);
        slopes[1][k] = d[k] * before[k] * sigmoid_slope<T>(forget[k]);
        slopes[2][k] = d[k] * in[k] * tanh_slope<T>(made[k]);
        slopes[3][k] = g[k] * t[k] * sigmoid_slope<T>(out[k]);
        d[k] = d[k] * forget[k];
        rest[k] = zero;
      }
      for (int gate = 0; gate < 4; ++gate) write(dgates, gate, slopes[gate]);
      for (int gate = 0; gate < 4; ++gate) write(dproducts, gate, slopes[gate]);
      write(dc, 0, d);
      write(dh, 0, rest);
    } else if (of.cell != RecurrentCell::gru) {
      const Registers y = read(gates);
      const bool is_tanh = of.cell == RecurrentCell::rnn_tanh;
      for (int k = 0; k < K; ++k)
        g[k] = is_tanh ? g[k] * tanh_slope<T>(y[k]) : select(y[k] <= zero, zero, g[k]);
      write(dgates, 0, g);
      write(dproducts, 0, g);
      g.fill(zero);
      write(dh, 0, g);
    } else {
      const Registers reset = read(gates, 0), keep = read(gates, 1), n = read(gates, 2), part = read(inner),
                      before = read(h_before);
      Registers dn, dr, dz, dpart;
      for (int k = 0; k < K; ++k) {
        dn[k] = g[k] * (one - keep[k]) * tanh_slope<T>(n[k]);
        dr[k] = dn[k] * part[k] * sigmoid_slope<T>(reset[k]);
        dz[k] = g[k] * (before[k] - n[k]) * sigmoid_slope<T>(keep[k]);
        dpart[k] = dn[k] * reset[k];
        g[k] = g[k] * keep[k];
      }
      write(dgates, 0, dr), write(dgates, 1, dz), write(dgates, 2, dn);
      write(dproducts, 0, dr), write(dproducts, 1, dz), write(dproducts, 2, dpart);
      write(dh, 0, g);
    }
  });
}

/// Calls f(first row, rows) for the blocks of sequences, on all threads.
template <class F>
void for_blocks(const RecurrentShape& of, F f) {
  // No sequence's bits depend on the others of its block.
  const Index threads = get_num_threads(), shares = (of.rows + most_rows - 1) / most_rows;
  const Index blocks =
      std::min((of.rows + fewest_rows - 1) / fewest_rows, (shares + threads - 1) / threads * threads);
  parallel_for(blocks, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index first = of.rows * i / blocks;
      f(first, of.rows * (i + 1) / blocks - first);
    }
  });
}

/// The row stride of hidden products: not a multiple of a large power of 2, so that the caches can hold the
/// same columns of several rows.
template <class T>
Index products_apart(const RecurrentShape& of) {
  return of.gate_width() + 64 / static_cast<Index>(sizeof(T));
}

/// Rows [rows][hidden] of a state, or zeros.
template <class T>
void copy_state(const T* from, Index first, Index rows, Index hidden, T* to) {
  if (from == nullptr)
    std::fill_n(to, rows * hidden, T{0});
  else
    std::copy_n(from + first * hidden, rows * hidden, to);
}

}  // namespace

template <class T>
Index packed_weight_size(const RecurrentShape& of) {
  const auto rounded = [](Index n) { return (n + panel_width<T> - 1) / panel_width<T> * panel_width<T>; };
  return std::max(rounded(of.gate_width()) * of.hidden, of.gate_width() * rounded(of.hidden));
}

template <class T>
void recurrent(const RecurrentShape& of, const RecurrentArrays<T>& arrays) {
  const Index hidden = of.hidden, width = of.gate_width();
  for (Index at = 0; at < width; at += panel_width<T>) {  // panels of gates, [hidden][panel_width]
    T* const panel = arrays.packed + at * hidden;
    const Index count = std::min(panel_width<T>, width - at);
    if (count < panel_width<T>) std::fill_n(panel, hidden * panel_width<T>, T{0});
    transpose(arrays.weight + at * hidden, hidden, count, hidden, panel, panel_width<T>);
  }
  for_blocks(of, [&](Index first, Index rows) {
    const Index apart = products_apart<T>(of);
    T *const h = scratch<T>(rows * (2 * hidden + apart)), *const c = h + rows * hidden,
             *const products = c + rows * hidden;
    copy_state(arrays.h0, first, rows, hidden, h);
    copy_state(arrays.c0, first, rows, hidden, c);
    for (Index s = 0; s < of.steps; ++s) {
      const Index t = of.is_reverse ? of.steps - 1 - s : s;
      for (Index at = 0; at < width; at += panel_width<T>)
        small_product(rows, std::min(panel_width<T>, width - at), hidden, Operand<T>{h, hidden, 1},
                      arrays.packed + at * hidden, panel_width<T>, products + at, apart);
      for (Index row = 0; row < rows; ++row) {
        const Index at = (first + row) * of.steps + t;
        if (t < of.length(first + row)) {
          step(of, products + row * apart, arrays.bias, arrays.gates + at * width, arrays.inner + at * hidden,
               h + row * hidden, c + row * hidden, arrays.y + at * hidden);
        } else {
          std::fill_n(arrays.y + at * hidden, hidden, T{0});
        }
      }
    }
    std::copy_n(h, rows * hidden, arrays.h + first * hidden);
    if (of.cell == RecurrentCell::lstm) std::copy_n(c, rows * hidden, arrays.c + first * hidden);
  });
}

template <class T>
void recurrent_backward(const RecurrentShape& of, const RecurrentGradients<T>& arrays) {
  const Index hidden = of.hidden, width = of.gate_width();
  for (Index at = 0; at < hidden; at += panel_width<T>) {  // panels of states, [gates · hidden][panel_width]
    T* const panel = arrays.packed + at * width;
    const Index count = std::min(panel_width<T>, hidden - at);
    for (Index i = 0; i < width; ++i) {
      std::copy_n(arrays.weight + i * hidden + at, count, panel + i * panel_width<T>);
      std::fill_n(panel + i * panel_width<T> + count, panel_width<T> - count, T{0});
    }
  }
  for_blocks(of, [&](Index first, Index rows) {
    const FlushToZero guard(true);  // gradients that vanish over many steps
    const Index apart = products_apart<T>(of);
    T *const dh = scratch<T>(rows * (2 * hidden + apart)), *const dc = dh + rows * hidden,
             *const products = dc + rows * hidden;
    copy_state(arrays.dh, first, rows, hidden, dh);
    copy_state(arrays.dc, first, rows, hidden, dc);
    for (Index s = of.steps; s-- > 0;) {
      const Index t = of.is_reverse ? of.steps - 1 - s : s, before = of.is_reverse ? t + 1 : t - 1;
      for (Index row = 0; row < rows; ++row) {
        const Index n = first + row, at = n * of.steps + t;
        T *const x = arrays.factors + at * (arrays.inputs + hidden), *const h_before = x + arrays.inputs,
                 *const dproducts = products + row * apart;
        std::copy_n(arrays.x + at * arrays.inputs, arrays.inputs, x);
        if (t >= of.length(n)) {
          std::fill_n(h_before, hidden, T{0});
          std::fill_n(arrays.dgates + at * width, width, T{0});
          if (arrays.dhidden != nullptr) std::fill_n(arrays.dhidden + at * width, width, T{0});
          std::fill_n(dproducts, width, T{0});
          continue;
        }
        const bool is_first = before < 0 || before >= of.length(n);
        const auto state = [&](const T* all, const T* initial) {
          if (!is_first) return all + (n * of.steps + before) * hidden;
          return initial == nullptr ? nullptr : initial + n * hidden;
        };
        const T* const previous = state(arrays.y, arrays.h0);
        if (previous == nullptr)
          std::fill_n(h_before, hidden, T{0});
        else
          std::copy_n(previous, hidden, h_before);
        step_back(of, arrays.gates + at * width, arrays.inner + at * hidden, state(arrays.inner, arrays.c0),
                  h_before, arrays.dy == nullptr ? nullptr : arrays.dy + at * hidden, dh + row * hidden,
                  dc + row * hidden, arrays.dgates + at * width, dproducts);
        if (arrays.dhidden != nullptr) std::copy_n(dproducts, width, arrays.dhidden + at * width);
      }
      for (Index at = 0; at < hidden; at += panel_width<T>)
        add_small_product(rows, std::min(panel_width<T>, hidden - at), width, Operand<T>{products, apart, 1},
                          arrays.packed + at * width, panel_width<T>, dh + at, hidden);
    }
    if (arrays.dh0 != nullptr) std::copy_n(dh, rows * hidden, arrays.dh0 + first * hidden);
    if (arrays.dc0 != nullptr) std::copy_n(dc, rows * hidden, arrays.dc0 + first * hidden);
  });
}

template Index packed_weight_size<float>(const RecurrentShape&);
template Index packed_weight_size<double>(const RecurrentShape&);
template void recurrent(const RecurrentShape&, const RecurrentArrays<float>&);
template void recurrent(const RecurrentShape&, const RecurrentArrays<double>&);
template void recurrent_backward(const RecurrentShape&, const RecurrentGradients<float>&);
template void recurrent_backward(const RecurrentShape&, const RecurrentGradients<double>&);

}  // namespace retort::kernels
