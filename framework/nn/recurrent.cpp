#include "retort/framework/nn/recurrent.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/nn/init.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/dropout.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {

Recurrent::Recurrent(const char* name, std::int64_t gates, std::int64_t input, std::int64_t hidden,
                     RecurrentOptions options)
    : name_(name), gates_(gates), input_(input), hidden_(hidden), options_(options) {
  if (input < 1 || hidden < 1 || options.num_layers < 1)
    throw ValueError(message("{}: {}, {} and {}; there must be at least 1 of each", name,
                             detail::counted(input, "input"), detail::counted(hidden, "hidden unit"),
                             detail::counted(options.num_layers, "layer")));
  detail::require_from_0_to_1(name, "dropout", options.dropout);
  if (options.dropout > 0 && options.num_layers == 1)
    detail::warn_once(
        message("{} dropout", name),
        message("{}: dropout is {} but has no effect with 1 layer: it follows each layer except the last; "
                "apply Dropout to the output, or give more layers",
                name, options.dropout));
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  if (input > most || hidden > most || options.num_layers > most)
    throw ValueError(message("{}: {}, {} and {} are more than memory holds", name,
                             detail::counted(input, "input"), detail::counted(hidden, "hidden unit"),
                             detail::counted(options.num_layers, "layer")));
  const double bound = 1 / std::sqrt(static_cast<double>(hidden));
  const auto made = [&](const Shape& shape) {
    return init::uniform_(empty(shape), -bound, bound).set_requires_grad();
  };
  const std::int64_t directions = options.bidirectional ? 2 : 1, width = gates * hidden;
  for (std::int64_t i = 0; i < options.num_layers * directions; ++i) {
    detail::RecurrentWeights& layer = layers.emplace_back();
    layer.weight_ih = made({width, i < directions ? input : directions * hidden});
    layer.weight_hh = made({width, hidden});
    if (options.bias) layer.bias_ih = made({width});
    if (options.bias) layer.bias_hh = made({width});
  }
}

void Recurrent::retort_members(std::vector<detail::Member>& found) const {
  const std::size_t directions = options_.bidirectional ? 2 : 1;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string suffix =
        "_l" + std::to_string(i / directions) + (i % directions == 1 ? "_reverse" : "");
    detail::append_member(found, "weight_ih" + suffix, layers[i].weight_ih);
    detail::append_member(found, "weight_hh" + suffix, layers[i].weight_hh);
    detail::append_member(found, "bias_ih" + suffix, layers[i].bias_ih);
    detail::append_member(found, "bias_hh" + suffix, layers[i].bias_hh);
  }
}

Tensors Recurrent::run(const Tensor& input, const Tensors& states, const Tensor& lengths) const {
  detail::require_floating(name_, input);
  if (input.dim() != 3 || input.size(2) != input_)
    throw ShapeError(
        message("{}: the input has shape {}; it must be (N, L, {})", name_, input.shape(), input_));
  const std::int64_t rows = input.size(0), steps = input.size(1);
  const Shape state_shape{static_cast<std::int64_t>(layers.size()), rows, hidden_};
  for (const detail::RecurrentWeights& layer : layers) {
    detail::require_floating(name_, "weight_ih", layer.weight_ih);
    detail::require_floating(name_, "weight_hh", layer.weight_hh);
  }
  DType dtype = promote(input.dtype(), layers[0].weight_ih.dtype());
  for (std::size_t i = 0; i < states.size(); ++i) {
    const Tensor& state = states[i];
    const char* const what = i == 0 ? "h0" : "c0";
    if (!state.defined()) continue;
    detail::require_floating(name_, what, state);
    if (state.shape() != state_shape)
      throw ShapeError(message("{}: {} has shape {}; it must be {}, layers and directions first", name_, what,
                               state.shape(), state_shape));
    dtype = promote(dtype, state.dtype());
  }
  Tensor x = input.to(dtype);
  if (lengths.defined()) {
    detail::require_int64(name_, "lengths", lengths);
    if (lengths.shape() != Shape{rows})
      throw ShapeError(
          message("{}: lengths have shape {}; they must be (N) = {}", name_, lengths.shape(), Shape{rows}));
    const auto given = lengths.data<std::int64_t>();
    for (std::int64_t i = 0; i < rows; ++i)
      if (given[i] < 0 || given[i] > steps)
        throw ValueError(
            message("{}: length {} of sequence {} is out of range [0, {}]", name_, given[i], i, steps));
    // Values past a row's length have no effect, even NaN.
    x = where(less(reshape(arange(steps), {1, steps, 1}), reshape(lengths, {rows, 1, 1})), x, 0);
  }
  std::vector<Tensors> initial;
  for (const Tensor& state : states)
    initial.push_back(state.defined() ? unbind(state.to(dtype)) : Tensors(layers.size()));
  std::vector<Tensors> last(states.size());
  const std::size_t directions = options_.bidirectional ? 2 : 1;
  for (std::size_t i = 0; i < layers.size(); i += directions) {
    Tensors outputs;
    for (std::size_t j = i; j < i + directions; ++j) {
      const detail::RecurrentWeights& own = layers[j];
      const auto with_type = [&](const Tensor& w) { return w.defined() ? w.to(dtype) : w; };
      const detail::RecurrentWeights weights{with_type(own.weight_ih), with_type(own.weight_hh),
                                             with_type(own.bias_ih), with_type(own.bias_hh)};
      const Tensors results =
          gates_ == 4   ? detail::lstm_layer(x, weights, initial[0][j], initial[1][j], lengths, j > i)
          : gates_ == 3 ? detail::gru_layer(x, weights, initial[0][j], lengths, j > i)
                        : detail::rnn_layer(x, weights, initial[0][j], lengths, j > i, is_relu_);
      outputs.push_back(results[0]);
      for (std::size_t k = 0; k < last.size(); ++k) last[k].push_back(results[k + 1]);
    }
    x = outputs.size() == 1 ? outputs[0] : concat(outputs, -1);
    if (i + directions < layers.size()) x = dropout(x, options_.dropout, is_training());
  }
  Tensors results{output(x)};
  for (const Tensors& of_layers : last) results.push_back(stack(of_layers));
  return results;
}

LSTMOutput LSTM::operator()(const Tensor& x, const LSTMInputs& inputs) const {
  const Tensors results = run(x, {inputs.h0, inputs.c0}, inputs.lengths);
  return {results[0], results[1], results[2]};
}

GRUOutput GRU::operator()(const Tensor& x, const GRUInputs& inputs) const {
  const Tensors results = run(x, {inputs.h0}, inputs.lengths);
  return {results[0], results[1]};
}

RNN::RNN(std::int64_t input, std::int64_t hidden, const RNNOptions& o)
    : Recurrent("RNN", 1, input, hidden,
                {.num_layers = o.num_layers,
                 .bias = o.bias,
                 .dropout = o.dropout,
                 .bidirectional = o.bidirectional}) {
  detail::require_option(o.nonlinearity == "tanh" || o.nonlinearity == "relu", "RNN", "nonlinearity",
                         o.nonlinearity, "tanh or relu");
  is_relu_ = o.nonlinearity == "relu";
}

RNNOutput RNN::operator()(const Tensor& x, const RNNInputs& inputs) const {
  const Tensors results = run(x, {inputs.h0}, inputs.lengths);
  return {results[0], results[1]};
}

}  // namespace retort
