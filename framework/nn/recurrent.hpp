// LSTM, GRU and plain RNN as modules.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "retort/framework/nn/module.hpp"
#include "retort/framework/ops/recurrent.hpp"

namespace [[RETORT_EXPORT]] retort {

struct RecurrentOptions {
  std::int64_t num_layers = 1;
  bool bias = true;
  double dropout = 0;  ///< dropout probability of each layer's output except the last, in training; warns if
                       ///< there is only one layer
  bool bidirectional = false;
};
using LSTMOptions = RecurrentOptions;
using GRUOptions = RecurrentOptions;

struct RNNOptions {
  std::int64_t num_layers = 1;
  std::string nonlinearity = "tanh";  ///< or "relu"
  bool bias = true;
  double dropout = 0;  ///< as in RecurrentOptions
  bool bidirectional = false;
};

/// Common base class of LSTM, GRU and RNN. The parameters are weight_ih_l0, weight_hh_l0, bias_ih_l0 and
/// bias_hh_l0, with the suffix _reverse for the backward direction and l1, … for further layers, all with
/// PyTorch's initial distributions.
class Recurrent : public Module {
 public:
  /// One element per layer and direction.
  std::vector<detail::RecurrentWeights> layers;

 protected:
  Recurrent(const char* name, std::int64_t gates, std::int64_t input, std::int64_t hidden,
            RecurrentOptions options);
  /// Returns the output and the last states of all layers and directions. `states` are h0 and, for an LSTM,
  /// c0.
  Tensors run(const Tensor& x, const Tensors& states, const Tensor& lengths) const;
  void retort_members(std::vector<detail::Member>& found) const override;

 private:
  const char* name_;
  std::int64_t gates_, input_, hidden_;
  RecurrentOptions options_;

 protected:
  bool is_relu_ = false;  ///< of an RNN
};

/// Initial states and sequence lengths of an LSTM.
struct LSTMInputs {
  Tensor h0 = {}, c0 = {};  ///< (num_layers · directions, N, hidden); zeros if omitted
  Tensor lengths = {};      ///< int64 (N): number of steps of each row; all if omitted
};
/// The result of an LSTM. The last dimension of `output` holds the forward direction's hidden units, then
/// those of the backward direction. The first dimension of the states is in PyTorch's order: layer 0 forward,
/// layer 0 backward, layer 1 forward, ...
struct LSTMOutput {
  Tensor output = {};     ///< of the last layer (N, L, directions · hidden), 0 past a row's length
  Tensor h = {}, c = {};  ///< the last states (num_layers · directions, N, hidden)
};

/// Long short-term memory over (N, L, input) (Hochreiter and Schmidhuber, 1997): i, f, o = σ(W x + b + U h +
/// b'), g = tanh(W x + b + U h + b'), c' = f · c + i · g, h' = o · tanh(c').
///
///     const rt::LSTM lstm(32, 64, {.bidirectional = true});
///     const auto [output, h, c] = lstm(x, {.lengths = batch["lengths"]});
///
/// Edge cases: steps past a row's length do not change its state, as in PyTorch's packed sequences. A length
/// may be 0. The backward direction starts at the row's last step.
/// Throws: ShapeError if shapes do not fit; ValueError if a length is outside [0, L] or an option is out of
/// range.
struct LSTM : Recurrent {
  LSTM(std::int64_t input, std::int64_t hidden, LSTMOptions options = {})
      : Recurrent("LSTM", 4, input, hidden, options) {}
  LSTMOutput operator()(const Tensor& x, const LSTMInputs& inputs = {}) const;
};

/// Initial state and sequence lengths of a GRU.
struct GRUInputs {
  Tensor h0 = {};       ///< (num_layers · directions, N, hidden); zeros if omitted
  Tensor lengths = {};  ///< int64 (N): number of steps of each row; all if omitted
};
/// The result of a GRU, in the order of LSTMOutput.
struct GRUOutput {
  Tensor output = {};  ///< of the last layer (N, L, directions · hidden), 0 past a row's length
  Tensor h = {};       ///< the last states (num_layers · directions, N, hidden)
};

/// Gated recurrent unit over (N, L, input) (Cho et al., 2014): r, z = σ(W x + b + U h + b'), n = tanh(W x + b
/// + r · (U h + b')), h' = (1 - z) · n + z · h. Edge cases and errors as for LSTM.
struct GRU : Recurrent {
  GRU(std::int64_t input, std::int64_t hidden, GRUOptions options = {})
      : Recurrent("GRU", 3, input, hidden, options) {}
  GRUOutput operator()(const Tensor& x, const GRUInputs& inputs = {}) const;
};

/// Initial state and sequence lengths of an RNN.
using RNNInputs = GRUInputs;
/// The result of an RNN.
using RNNOutput = GRUOutput;

/// Plain recurrent network over (N, L, input) (Elman, 1990): h' = tanh(W x + b + U h + b'), or relu of that.
/// Edge cases and errors as for LSTM; also ValueError for another nonlinearity.
struct RNN : Recurrent {
  RNN(std::int64_t input, std::int64_t hidden, const RNNOptions& options = {});
  RNNOutput operator()(const Tensor& x, const RNNInputs& inputs = {}) const;
};

}  // namespace retort
