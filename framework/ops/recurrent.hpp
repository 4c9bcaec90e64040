// One recurrent layer in one direction, used by nn/recurrent.hpp.
#pragma once

#include "retort/framework/core/tensor.hpp"

namespace retort::detail {

/// The weights of a layer, with gates in PyTorch's order: i, f, g, o for an LSTM; r, z, n for a GRU; one for
/// a plain RNN.
struct RecurrentWeights {
  Tensor weight_ih = {}, weight_hh = {};  ///< (gates · hidden, input) and (gates · hidden, hidden)
  Tensor bias_ih = {}, bias_hh = {};      ///< (gates · hidden), or undefined
};

/// One direction of an LSTM layer over x (N, L, input), starting from h0 and c0 (N, hidden; undefined:
/// zeros): returns y (N, L, hidden), h and c, as one recorded operation. `lengths` are (N); undefined: L.
/// Steps past a row's length give 0 and keep its state. `is_reverse` runs from the last step to the first.
/// All tensors have one element type; the caller checks the shapes. (Hochreiter and Schmidhuber, 1997)
[[nodiscard]] Tensors lstm_layer(const Tensor& x, const RecurrentWeights& weights, const Tensor& h0,
                                 const Tensor& c0, const Tensor& lengths, bool is_reverse);
/// As lstm_layer, for a GRU, without c: h' = (1 - z) · n + z · h with n = tanh(W x + b + r · (U h + b')).
/// (Cho et al., 2014)
[[nodiscard]] Tensors gru_layer(const Tensor& x, const RecurrentWeights& weights, const Tensor& h0,
                                const Tensor& lengths, bool is_reverse);
/// As gru_layer, for a plain RNN: h' = tanh(W x + b + U h + b'), or relu of that. (Elman, 1990)
[[nodiscard]] Tensors rnn_layer(const Tensor& x, const RecurrentWeights& weights, const Tensor& h0,
                                const Tensor& lengths, bool is_reverse, bool is_relu);

}  // namespace retort::detail
