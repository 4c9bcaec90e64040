#include "retort/framework/ops/recurrent.hpp"

#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/gemm.hpp"
#include "retort/framework/kernels/recurrent.hpp"
#include "retort/framework/kernels/strided.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/matmul.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort::detail {
namespace {

using kernels::RecurrentCell;

enum Input : std::size_t { x_in, weight_ih, weight_hh, bias_ih, bias_hh, h_in, c_in, input_count };

kernels::RecurrentShape shape_of(RecurrentCell cell, const Tensors& in, const Tensor& lengths,
                                 bool is_reverse) {
  return {cell,
          in[x_in].size(0),
          in[x_in].size(1),
          in[weight_hh].size(1),
          is_reverse,
          lengths.defined() ? lengths.data<std::int64_t>().data() : nullptr};
}

// The reference, step by step.
Tensors reference(RecurrentCell cell, const Tensors& in, const Tensor& lengths, bool is_reverse) {
  const std::int64_t rows = in[x_in].size(0), steps = in[x_in].size(1), hidden = in[weight_hh].size(1);
  const Tensor none = zeros({rows, hidden}, in[x_in].dtype());
  Tensor h = in[h_in].defined() ? in[h_in] : none, c = in[c_in].defined() ? in[c_in] : none;
  const Tensors products = unbind(linear(in[x_in], in[weight_ih], in[bias_ih]), 1);
  Tensors outputs(products.size());
  for (std::int64_t s = 0; s < steps; ++s) {
    const auto t = static_cast<std::size_t>(is_reverse ? steps - 1 - s : s);
    const Tensors a = split(products[t], hidden, 1),
                  b = split(linear(h, in[weight_hh], in[bias_hh]), hidden, 1);
    Tensor next, next_c = c;
    if (cell == RecurrentCell::lstm) {
      next_c = sigmoid(a[1] + b[1]) * c + sigmoid(a[0] + b[0]) * tanh(a[2] + b[2]);
      next = sigmoid(a[3] + b[3]) * tanh(next_c);
    } else if (cell != RecurrentCell::gru) {
      next = cell == RecurrentCell::rnn_tanh ? tanh(a[0] + b[0]) : relu(a[0] + b[0]);
    } else {
      const Tensor z = sigmoid(a[1] + b[1]), n = tanh(a[2] + sigmoid(a[0] + b[0]) * b[2]);
      next = (1 - z) * n + z * h;
    }
    if (lengths.defined()) {
      const Tensor runs = reshape(greater(lengths, static_cast<std::int64_t>(t)), {rows, 1});
      outputs[t] = where(runs, next, 0);
      h = where(runs, next, h);
      c = where(runs, next_c, c);
    } else {
      outputs[t] = h = next;
      c = next_c;
    }
  }
  const Tensor y = steps > 0 ? stack(outputs, 1) : zeros({rows, 0, hidden}, in[x_in].dtype());
  return cell == RecurrentCell::lstm ? Tensors{y, h, c} : Tensors{y, h};
}

// aᵀ · b over the rows of two matrices.
Tensor product_over_rows(const Tensor& a, const Tensor& b) {
  const std::int64_t m = a.size(-1), n = b.size(-1), rows = m > 0 ? a.size() / m : 0;
  return compute(
      {m, n}, a.dtype(),
      [&]<class T>(T* y, const T* p, const T* q) {
        kernels::gemm<T>(true, false, m, n, rows, 1, p, m, q, n, 0, y, n);
      },
      a, b);
}
// Rows [first, first + rows) of a matrix, transposed.
Tensor transposed_rows(const Tensor& x, std::int64_t first, std::int64_t rows) {
  const std::int64_t columns = x.size(1);
  return compute(
      {columns, rows}, x.dtype(),
      [&]<class T>(T* y, const T* p) {
        const std::int64_t extents[] = {columns, rows}, strides[] = {1, columns};
        kernels::strided_copy(p + first * columns, y, 2, extents, strides);
      },
      x);
}

Tensors recurrent_layer(const char* name, RecurrentCell cell, const Tensors& in, const Tensor& lengths,
                        bool is_reverse) {
  const kernels::RecurrentShape of = shape_of(cell, in, lengths, is_reverse);
  const DType dtype = in[x_in].dtype();
  const bool is_lstm = cell == RecurrentCell::lstm;
  const Shape state{of.rows, of.hidden}, sequence{of.rows, of.steps, of.hidden};
  const Tensor gates =
      // The input products of all steps.
      no_grad([&] { return linear(in[x_in], in[weight_ih], in[bias_ih]); });
  const Tensor inner = empty(sequence, dtype), y = empty(sequence, dtype), h = empty(state, dtype),
               c = is_lstm ? empty(state, dtype) : Tensor();
  compute_into(
      dtype,
      [&]<class T>(T* g, T* i, T* out, T* last_h, T* last_c, const T* w, const T* b, const T* first_h,
                   const T* first_c) {
        const Tensor packed = empty({kernels::packed_weight_size<T>(of)}, dtype);
        kernels::recurrent<T>(
            of, {w, b, first_h, first_c, g, i, out, last_h, last_c, packed.mutable_data<T>().data()});
      },
      writable(gates), writable(inner), writable(y), writable(h), writable(c), in[weight_hh], in[bias_hh],
      in[h_in], in[c_in]);
  const auto backward = [=](const Tensors& gs, Needs needs) {
    const kernels::RecurrentShape shape = shape_of(cell, in, lengths, is_reverse);
    // A product reads narrower matrices in place and rearranges others.
    const std::int64_t narrow = 64, width = shape.gate_width();
    const bool both = is_lstm && needs[weight_ih] && needs[weight_hh];
    const std::int64_t inputs = both ? in[x_in].size(2) : 0;
    const Shape wide{shape.rows, shape.steps, width};
    const Tensor dgates = empty(wide, dtype), dhidden = is_lstm ? Tensor() : empty(wide, dtype),
                 factors = empty({shape.rows, shape.steps, inputs + shape.hidden}, dtype);
    Tensors gradients(input_count);
    if (needs[h_in] && in[h_in].defined()) gradients[h_in] = empty(state, dtype);
    if (needs[c_in] && in[c_in].defined()) gradients[c_in] = empty(state, dtype);
    compute_into(
        dtype,
        [&]<class T>(T* dg, T* dp, T* fs, T* dh0, T* dc0, const T* w, const T* h0, const T* c0, const T* g,
                     const T* i, const T* out, const T* dy, const T* dh, const T* dc, const T* x) {
          const Tensor packed = empty({kernels::packed_weight_size<T>(shape)}, dtype);
          kernels::recurrent_backward<T>(shape, {w, h0, c0, g, i, out, dy, dh, dc, x, inputs, dg, dp, fs, dh0,
                                                 dc0, packed.mutable_data<T>().data()});
        },
        writable(dgates), writable(dhidden), writable(factors), writable(gradients[h_in]),
        writable(gradients[c_in]), in[weight_hh], in[h_in], in[c_in], gates, inner, y, gs[0], gs[1],
        is_lstm ? gs[2] : Tensor(), in[x_in]);
    const Tensor& products = is_lstm ? dgates : dhidden;
    if (needs[x_in]) gradients[x_in] = matmul(dgates, in[weight_ih]);
    if (both) {  // one product for both, since they have the same slopes
      const Tensor transposed = product_over_rows(factors, dgates);
      gradients[weight_ih] = transposed_rows(transposed, 0, inputs);
      gradients[weight_hh] = transposed_rows(transposed, inputs, shape.hidden);
    } else {
      // The smaller matrix is the first operand if it is rearranged; the gradient is then transposed.
      const auto gradient = [&](const Tensor& slopes, const Tensor& x) {
        return x.size(-1) <= narrow ? product_over_rows(slopes, x)
                                    : transposed_rows(product_over_rows(x, slopes), 0, x.size(-1));
      };
      if (needs[weight_ih]) gradients[weight_ih] = gradient(dgates, in[x_in]);
      if (needs[weight_hh]) gradients[weight_hh] = gradient(products, factors);
    }
    if (needs[bias_ih]) gradients[bias_ih] = sum(dgates, {0, 1});
    if (needs[bias_hh])
      gradients[bias_hh] = is_lstm && needs[bias_ih] ? gradients[bias_ih] : sum(products, {0, 1});
    return gradients;
  };
  const auto by_reference = [=](const Tensors& gs, Needs needs) {
    const auto results = [&](const Tensors& identities) {
      return reference(cell, identities, lengths, is_reverse);
    };
    return reference_gradients(results, in, gs, needs);
  };
  return record_many({.name = name,
                      .inputs = in,
                      .values = is_lstm ? Tensors{y, h, c} : Tensors{y, h},
                      .vjp = by_reference,
                      .fast_vjp = backward});
}

}  // namespace

Tensors lstm_layer(const Tensor& x, const RecurrentWeights& weights, const Tensor& h0, const Tensor& c0,
                   const Tensor& lengths, bool is_reverse) {
  return recurrent_layer("lstm_layer", RecurrentCell::lstm,
                         {x, weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh, h0, c0},
                         lengths, is_reverse);
}

Tensors gru_layer(const Tensor& x, const RecurrentWeights& weights, const Tensor& h0, const Tensor& lengths,
                  bool is_reverse) {
  return recurrent_layer("gru_layer", RecurrentCell::gru,
                         {x, weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh, h0, {}},
                         lengths, is_reverse);
}

Tensors rnn_layer(const Tensor& x, const RecurrentWeights& weights, const Tensor& h0, const Tensor& lengths,
                  bool is_reverse, bool is_relu) {
  return recurrent_layer("rnn_layer", is_relu ? RecurrentCell::rnn_relu : RecurrentCell::rnn_tanh,
                         {x, weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh, h0, {}},
                         lengths, is_reverse);
}

}  // namespace retort::detail
