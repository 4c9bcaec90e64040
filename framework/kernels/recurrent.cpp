#include "retort/framework/kernels/recurrent.hpp"

#include <algorithm>

#include "retort/framework/base/threads.hpp"
#include "retort/framework/kernels/tiles_impl.hpp"

namespace retort::kernels {
namespace {

// Number of sequences that one thread processes through all steps.
constexpr Index block_rows = 16;
template <class T>
constexpr Index panel_width = panel_registers * lanes<T>;

/// tanh of each, within a few ulp: t / (t + 2) with t = 1 - e^(-2|x|), accurate for small x.
template <class T, std::size_t K>
void tanh_each(std::array<Batch<T>, K>& x) {
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
template <class T>
Batch<T> tanh_of(const Batch<T>& x) {
  std::array<Batch<T>, 1> v{x};
  tanh_each<T>(v);
  return v[0];
}

template <class T, std::size_t K>
void sigmoid_each(std::array<Batch<T>, K>& x) {
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

/// Elements [i, i + count) of the gates of a step, one register each.
template <int Gates, class T>
std::array<Batch<T>, Gates> load_gates(const T* x, Index hidden, Index i, Index count) {
  std::array<Batch<T>, Gates> v;
  for (int k = 0; k < Gates; ++k) v[k] = load_lanes(x + k * hidden + i, count, T{0});
  return v;
}
template <int Gates, class T>
void store_gates(T* y, Index hidden, Index i, Index count, const std::array<Batch<T>, Gates>& v) {
  for (int k = 0; k < Gates; ++k) store_lanes(y + k * hidden + i, v[k], count);
}

/// One step of one sequence: from the input products in `gates` and the hidden ones in `products` computes
/// the gates, the state h and, in `inner`, c or the hidden part of n.
template <class T>
void step(const RecurrentShape& of, const T* products, const T* bias, T* gates, T* inner, T* h, T* c) {
  const auto biased = [&](const T* x, int gate, Index i, Index count) {
    const Batch<T> v = load_lanes(x + gate * of.hidden + i, count, T{0});
    return bias == nullptr ? v : v + load_lanes(bias + gate * of.hidden + i, count, T{0});
  };
  walk<T, 1>(of.hidden, [&]<int>(Index i, Index count) {
    if (of.cell == RecurrentCell::lstm) {
      auto x = load_gates<4>(gates, of.hidden, i, count);
      for (int k = 0; k < 4; ++k) x[k] += biased(products, k, i, count);
      std::array<Batch<T>, 3> open{x[0], x[1], x[3]};
      sigmoid_each<T>(open);
      x = {open[0], open[1], tanh_of<T>(x[2]), open[2]};
      store_gates<4>(gates, of.hidden, i, count, x);
      const Batch<T> cell = fma<T>(x[1], load_lanes(c + i, count, T{0}), x[0] * x[2]);
      store_lanes(c + i, cell, count);
      store_lanes(inner + i, cell, count);
      store_lanes(h + i, x[3] * tanh_of<T>(cell), count);
    } else {
      auto x = load_gates<3>(gates, of.hidden, i, count);
      std::array<Batch<T>, 2> open{x[0] + biased(products, 0, i, count),
                                   x[1] + biased(products, 1, i, count)};
      sigmoid_each<T>(open);
      const Batch<T> part = biased(products, 2, i, count), n = tanh_of<T>(fma<T>(open[0], part, x[2]));
      store_gates<3>(gates, of.hidden, i, count, {open[0], open[1], n});
      store_lanes(inner + i, part, count);
      store_lanes(h + i, fma<T>(open[1], load_lanes(h + i, count, T{0}) - n, n), count);
    }
  });
}

/// The reverse of step(): dh and dc become the gradients of the previous state, except for the part of dh
/// through the weights, which follows from the gradients of the hidden products.
template <class T>
void step_back(const RecurrentShape& of, const T* gates, const T* inner, const T* c_before, const T* h_before,
               const T* dy, T* dh, T* dc, T* dgates, T* dproducts) {
  const Batch<T> zero(T{0}), one(T{1});
  const auto lane = [&](const T* x, Index i, Index count) {
    return x == nullptr ? zero : load_lanes(x + i, count, T{0});
  };
  walk<T, 1>(of.hidden, [&]<int>(Index i, Index count) {
    const Batch<T> g = load_lanes(dh + i, count, T{0}) + lane(dy, i, count);
    if (of.cell == RecurrentCell::lstm) {
      const auto [in, forget, cell, out] = load_gates<4>(gates, of.hidden, i, count);
      const Batch<T> t = tanh_of<T>(load_lanes(inner + i, count, T{0}));
      const Batch<T> d = fma<T>(g * out, tanh_slope<T>(t), load_lanes(dc + i, count, T{0}));
      const std::array<Batch<T>, 4> slopes{d * cell * sigmoid_slope<T>(in),
                                           d * lane(c_before, i, count) * sigmoid_slope<T>(forget),
                                           d * in * tanh_slope<T>(cell), g * t * sigmoid_slope<T>(out)};
      store_gates<4>(dgates, of.hidden, i, count, slopes);
      store_gates<4>(dproducts, of.hidden, i, count, slopes);
      store_lanes(dc + i, d * forget, count);
      store_lanes(dh + i, zero, count);
    } else {
      const auto [reset, keep, n] = load_gates<3>(gates, of.hidden, i, count);
      const Batch<T> dn = g * (one - keep) * tanh_slope<T>(n);
      const Batch<T> dr = dn * load_lanes(inner + i, count, T{0}) * sigmoid_slope<T>(reset);
      const Batch<T> dz = g * (lane(h_before, i, count) - n) * sigmoid_slope<T>(keep);
      store_gates<3>(dgates, of.hidden, i, count, {dr, dz, dn});
      store_gates<3>(dproducts, of.hidden, i, count, {dr, dz, dn * reset});
      store_lanes(dh + i, g * keep, count);
    }
  });
}

/// Calls f(first row, rows) for the blocks of sequences, on all threads.
template <class F>
void for_blocks(const RecurrentShape& of, F f) {
  const Index blocks = (of.rows + block_rows - 1) / block_rows;
  parallel_for(blocks, 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index first = of.rows * i / blocks;
      f(first, of.rows * (i + 1) / blocks - first);
    }
  });
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
    turn(arrays.weight + at * hidden, hidden, count, hidden, panel, panel_width<T>);
  }
  for_blocks(of, [&](Index first, Index rows) {
    T *const h = scratch<T>(rows * (2 * hidden + width)), *const c = h + rows * hidden,
             *const products = c + rows * hidden;
    copy_state(arrays.h0, first, rows, hidden, h);
    copy_state(arrays.c0, first, rows, hidden, c);
    for (Index s = 0; s < of.steps; ++s) {
      const Index t = of.is_reverse ? of.steps - 1 - s : s;
      for (Index at = 0; at < width; at += panel_width<T>)
        small_product<false>(rows, std::min(panel_width<T>, width - at), hidden, Operand<T>{h, hidden, 1},
                             arrays.packed + at * hidden, panel_width<T>, products + at, width);
      for (Index row = 0; row < rows; ++row) {
        const Index at = (first + row) * of.steps + t;
        if (t < of.length(first + row)) {
          step(of, products + row * width, arrays.bias, arrays.gates + at * width, arrays.inner + at * hidden,
               h + row * hidden, c + row * hidden);
          std::copy_n(h + row * hidden, hidden, arrays.y + at * hidden);
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
    T *const dh = scratch<T>(rows * (2 * hidden + width)), *const dc = dh + rows * hidden,
             *const products = dc + rows * hidden;
    copy_state(arrays.dh, first, rows, hidden, dh);
    copy_state(arrays.dc, first, rows, hidden, dc);
    for (Index s = of.steps; s-- > 0;) {
      const Index t = of.is_reverse ? of.steps - 1 - s : s, before = of.is_reverse ? t + 1 : t - 1;
      for (Index row = 0; row < rows; ++row) {
        const Index n = first + row, at = n * of.steps + t;
        T *const h_before = arrays.h_before + at * hidden, *const dproducts = products + row * width;
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
        small_product<true>(rows, std::min(panel_width<T>, hidden - at), width,
                            Operand<T>{products, width, 1}, arrays.packed + at * width, panel_width<T>,
                            dh + at, hidden);
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
