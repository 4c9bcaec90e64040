// One recurrent layer in one direction. nn/recurrent.hpp makes networks of them.
#pragma once

#include <cstdint>

#include "retort/framework/core/tensor.hpp"

namespace retort::detail {

/// The weights of a layer in PyTorch's order of gates: i, f, g, o for an LSTM, r, z, n for a GRU.
struct RecurrentWeights {
  Tensor weight_ih = {}, weight_hh = {};  ///< (gates · hidden, input) and (gates · hidden, hidden)
  Tensor bias_ih = {}, bias_hh = {};      ///< (gates · hidden), or undefined
};

/// The states of an LSTM over x (N, L, input) from h0 and c0 (N, hidden; undefined: zeros): y (N, L, hidden),
/// h and c. Steps from a row's length (N; undefined: L) on leave its state as it is and give 0. `is_reverse`
/// runs from the last step to the first. One recorded operation. All tensors have one element type, and the
/// shapes are the caller's care. (Hochreiter and Schmidhuber, 1997)
[[nodiscard]] Tensors lstm_layer(const Tensor& x, const RecurrentWeights& weights, const Tensor& h0,
                                 const Tensor& c0, const Tensor& lengths, bool is_reverse);
/// The same for a GRU, without c: h' = (1 - z) · n + z · h with n = tanh(W x + b + r · (U h + b')). (Cho et
/// al., 2014)
[[nodiscard]] Tensors gru_layer(const Tensor& x, const RecurrentWeights& weights, const Tensor& h0,
                                const Tensor& lengths, bool is_reverse);

}  // namespace retort::detail
