// The steps of one recurrent layer in one direction. Explicitly instantiated for float and double.
#pragma once

#include <cstdint>

#include "retort/framework/base/dtype.hpp"

namespace retort::kernels {

enum class RecurrentCell { lstm, gru, rnn_tanh, rnn_relu };

/// Sizes of a recurrent layer over sequences [rows, steps]. Steps past a row's length keep its state and give
/// 0.
struct RecurrentShape {
  RecurrentCell cell = RecurrentCell::lstm;
  Index rows = 0, steps = 0, hidden = 0;
  bool is_reverse = false;                ///< from the last step to the first
  const std::int64_t* lengths = nullptr;  ///< [rows], or null: all are `steps`

  Index gates() const { return cell == RecurrentCell::lstm ? 4 : cell == RecurrentCell::gru ? 3 : 1; }
  Index gate_width() const { return gates() * hidden; }
  Index length(Index row) const { return lengths == nullptr ? steps : lengths[row]; }
};

/// Number of elements of the weights [gates · hidden, hidden] packed in the order of the steps.
template <class T>
Index packed_weight_size(const RecurrentShape& of);

/// The arrays that the steps read and write. `gates` [rows, steps, gates · hidden] contains the input
/// products with their bias, and afterwards the gates: i, f, g, o of an LSTM; r, z, n of a GRU; the state of
/// a plain RNN. `inner` [rows, steps, hidden] receives the cell of an LSTM, or the hidden part of n of a GRU.
/// `packed` has packed_weight_size() elements.
template <class T>
struct RecurrentArrays {
  const T *weight, *bias, *h0, *c0;  // bias, h0 and c0 may be null: zeros
  T *gates, *inner, *y, *h, *c, *packed;
};
template <class T>
void recurrent(const RecurrentShape& of, const RecurrentArrays<T>& arrays);

/// Backward pass through time. Null upstream gradients are zeros. Writes the gradients of the input products
/// `dgates` and, except for an LSTM, of the hidden products `dhidden`, dh0 and dc0. `factors` [rows, steps,
/// inputs + hidden] receives the factors of the weights: the inputs x of each step and the state before it.
template <class T>
struct RecurrentGradients {
  const T *weight, *h0, *c0, *gates, *inner, *y;
  const T *dy, *dh, *dc;
  const T* x;    // [rows, steps, inputs]; not read if inputs = 0
  Index inputs;  // of each step, or 0
  T *dgates, *dhidden, *factors, *dh0, *dc0, *packed;
};
template <class T>
void recurrent_backward(const RecurrentShape& of, const RecurrentGradients<T>& arrays);

}  // namespace retort::kernels
