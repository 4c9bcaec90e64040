// Rows of the op table: framework/ops/attention.hpp and recurrent.hpp.
#include <algorithm>
#include <cmath>
#include <limits>

#include "op_cases.hpp"
#include "retort/framework/kernels/recurrent.hpp"

namespace retort::tests {
namespace {

using In = const Tensors&;

/// Attention query by query. `allowed` (int64) and `added` may be undefined.
Tensor attended(In in, const Tensor& allowed, const Tensor& added, bool is_causal, double scale) {
  const Tensor &q = in[0], &k = in[1], &v = in[2];
  const std::int64_t keys = k.size(-2), width = q.size(-1);
  Shape shape = broadcast(
      broadcast(Shape(q.shape().begin(), q.shape().end() - 2), Shape(k.shape().begin(), k.shape().end() - 2)),
      Shape(v.shape().begin(), v.shape().end() - 2));
  shape.push_back(q.size(-2));
  shape.push_back(v.size(-1));
  return build(shape, [&](Index i) {
    const std::size_t rank = i.size();
    const std::int64_t column = i[rank - 1], query = i[rank - 2];
    Doubles scores, values;
    for (std::int64_t key = 0; key < keys; ++key) {
      const auto here = [&](std::int64_t row, std::int64_t element) {
        Index place = i;
        place[rank - 2] = row, place[rank - 1] = element;
        return place;
      };
      if (is_causal && key > query) continue;
      if (allowed.defined() && at(allowed, here(query, key)) == 0) continue;
      double score = added.defined() ? at(added, here(query, key)) : 0;
      if (std::isinf(score)) continue;
      for (std::int64_t e = 0; e < width; ++e) score += scale * at(q, here(query, e)) * at(k, here(key, e));
      scores.push_back(score);
      values.push_back(at(v, here(key, column)));
    }
    if (scores.empty()) return 0.0;
    const Doubles weights = softmax_of(scores);
    double sum = 0;
    for (std::size_t j = 0; j < weights.size(); ++j) sum += weights[j] * values[j];
    return sum;
  });
}

Tensors qkv(const Shape& batch, std::int64_t l, std::int64_t s, std::int64_t e, std::int64_t v) {
  const auto with = [&](std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
    Shape shape = batch;
    shape.push_back(rows);
    shape.push_back(columns);
    return uniform(shape, seed, -1.5, 1.5);
  };
  return {with(l, e, 1), with(s, e, 2), with(s, v, 3)};
}

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

using Cell = kernels::RecurrentCell;

/// The states of a recurrent layer, one row and unit at a time: y, h and, for an LSTM, c, one after another.
/// `in` holds x, W, U, b, b', h0 and, for an LSTM, c0.
Tensor stepped(Cell cell, In in, const Tensor& lengths, bool is_reverse) {
  const std::int64_t rows = in[0].size(0), steps = in[0].size(1), hidden = in[2].size(1);
  const bool is_lstm = cell == Cell::lstm;
  const auto h_width = static_cast<std::size_t>(hidden);
  Doubles outputs, last_h, last_c;
  for (std::int64_t n = 0; n < rows; ++n) {
    Doubles h(h_width), c(h_width), y(static_cast<std::size_t>(steps) * h_width);
    for (std::int64_t j = 0; j < hidden; ++j) {
      h[static_cast<std::size_t>(j)] = at(in[5], {n, j});
      if (is_lstm) c[static_cast<std::size_t>(j)] = at(in[6], {n, j});
    }
    for (std::int64_t s = 0; s < steps; ++s) {
      const std::int64_t t = is_reverse ? steps - 1 - s : s;
      if (lengths.defined() && static_cast<double>(t) >= at(lengths, {n})) continue;
      const Doubles before = h;
      const auto input = [&](std::int64_t row) {
        double sum = at(in[3], {row});
        for (std::int64_t e = 0; e < in[0].size(2); ++e) sum += at(in[1], {row, e}) * at(in[0], {n, t, e});
        return sum;
      };
      const auto state = [&](std::int64_t row) {
        double sum = at(in[4], {row});
        for (std::int64_t e = 0; e < hidden; ++e)
          sum += at(in[2], {row, e}) * before[static_cast<std::size_t>(e)];
        return sum;
      };
      for (std::int64_t j = 0; j < hidden; ++j) {
        const auto gate = [&](std::int64_t k) { return input(k * hidden + j) + state(k * hidden + j); };
        const auto unit = static_cast<std::size_t>(j);
        if (is_lstm) {
          c[unit] = logistic(gate(1)) * c[unit] + logistic(gate(0)) * std::tanh(gate(2));
          h[unit] = logistic(gate(3)) * std::tanh(c[unit]);
        } else if (cell == Cell::rnn_tanh) {
          h[unit] = std::tanh(gate(0));
        } else if (cell == Cell::rnn_relu) {
          h[unit] = std::max(gate(0), 0.0);
        } else {
          const double z = logistic(gate(1));
          const double fresh = std::tanh(input(2 * hidden + j) + logistic(gate(0)) * state(2 * hidden + j));
          h[unit] = (1 - z) * fresh + z * before[unit];
        }
        y[static_cast<std::size_t>(t) * h_width + unit] = h[unit];
      }
    }
    outputs.insert(outputs.end(), y.begin(), y.end());
    last_h.insert(last_h.end(), h.begin(), h.end());
    if (is_lstm) last_c.insert(last_c.end(), c.begin(), c.end());
  }
  outputs.insert(outputs.end(), last_h.begin(), last_h.end());
  outputs.insert(outputs.end(), last_c.begin(), last_c.end());
  return tensor(outputs, {static_cast<std::int64_t>(outputs.size())});
}

/// A layer's results, one after another.
Tensor layer(Cell cell, In in, const Tensor& lengths, bool is_reverse) {
  const detail::RecurrentWeights weights{in[1], in[2], in[3], in[4]};
  const bool is_relu = cell == Cell::rnn_relu;
  const Tensors results =
      cell == Cell::lstm  ? detail::lstm_layer(in[0], weights, in[5], in[6], lengths, is_reverse)
      : cell == Cell::gru ? detail::gru_layer(in[0], weights, in[5], lengths, is_reverse)
                          : detail::rnn_layer(in[0], weights, in[5], lengths, is_reverse, is_relu);
  Tensors flat;
  for (const Tensor& result : results) flat.push_back(reshape(result, {result.size()}));
  return concat(flat);
}

Tensors layer_inputs(Cell cell, std::int64_t rows, std::int64_t steps, std::int64_t input,
                     std::int64_t hidden) {
  const std::int64_t gates = cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1;
  Tensors in{uniform({rows, steps, input}, 1),
             uniform({gates * hidden, input}, 2, -1, 1),
             uniform({gates * hidden, hidden}, 3, -1, 1),
             uniform({gates * hidden}, 4, -1, 1),
             uniform({gates * hidden}, 5, -1, 1),
             uniform({rows, hidden}, 6, -1, 1)};
  if (cell == Cell::lstm) in.push_back(uniform({rows, hidden}, 7, -1, 1));
  return in;
}

OpCase layer_case(const char* name, Cell cell) {
  return {.name = name,
          .variant = cell == Cell::rnn_relu ? "relu" : "",
          .call = [=](In in) { return layer(cell, in, {}, false); },
          .reference = [=](In in) { return stepped(cell, in, {}, false); },
          .samples = {layer_inputs(cell, 2, 3, 2, 3), layer_inputs(cell, 1, 1, 1, 1),
                      layer_inputs(cell, 0, 2, 2, 1)},
          .promotes = false,
          .float32_tolerance = 1e-4};
}
OpCase ragged_case(const char* name, Cell cell) {
  const Tensor lengths = tensor<std::int64_t>({2, 0, 3});
  return {.name = name,
          .variant = cell == Cell::rnn_relu ? "relu, in reverse, of several lengths"
                                            : "in reverse, of several lengths",
          .call = [=](In in) { return layer(cell, in, lengths, true); },
          .reference = [=](In in) { return stepped(cell, in, lengths, true); },
          .samples = {layer_inputs(cell, 3, 3, 2, 2)},
          .promotes = false,
          .float32_tolerance = 1e-4};
}

Tensors with(Tensors inputs, const Tensor& last) {
  inputs.push_back(last);
  return inputs;
}

}  // namespace

std::vector<OpCase> sequence_cases() {
  const Tensor holes = tensor<std::int64_t>({1, 1, 0, 0, 1, 0, 0, 0, 1, 1, 0, 1}, {3, 4});
  return {
      {.name = "scaled_dot_product_attention",
       .call = [](In in) { return scaled_dot_product_attention(in[0], in[1], in[2]); },
       .reference =
           [](In in) {
             return attended(in, {}, {}, false, 1 / std::sqrt(static_cast<double>(in[0].size(-1))));
           },
       .samples = {qkv({2}, 3, 4, 2, 3),
                   qkv({1, 2}, 5, 3, 4, 2),
                   qkv({1}, 1, 1, 1, 1),
                   qkv({}, 2, 2, 3, 3),
                   {uniform({2, 3, 2}, 1), uniform({4, 2}, 2), uniform({1, 4, 5}, 3)},
                   qkv({0}, 3, 4, 2, 3),
                   qkv({2}, 3, 0, 2, 3),
                   qkv({2}, 0, 4, 2, 3)},
       .refused = {{Refusal::shape, {spread({3, 2}), spread({4, 3}), spread({4, 3})}},
                   {Refusal::shape, {spread({3, 2}), spread({4, 2}), spread({5, 3})}},
                   {Refusal::shape, {spread({2, 3, 2}), spread({3, 4, 2}), spread({4, 3})}},
                   {Refusal::type, {indices({3, 2}, 1, 5), spread({4, 2}), spread({4, 3})}}},
       .float32_tolerance = 1e-4},
      {.name = "scaled_dot_product_attention",
       .variant = "causal, scaled, across several tiles",
       .call =
           [](In in) {
             return scaled_dot_product_attention(in[0], in[1], in[2], {.is_causal = true, .scale = 0.3});
           },
       .reference = [](In in) { return attended(in, {}, {}, true, 0.3); },
       .samples = {qkv({}, 70, 67, 1, 1), qkv({2}, 3, 5, 2, 3)},
       .float32_tolerance = 1e-4},
      {.name = "scaled_dot_product_attention",
       .variant = "integer mask, one query without a key",
       .call =
           [=](In in) {
             const Tensor mask = holes * tensor<std::int64_t>({1, 0, 1}, {3, 1});
             return scaled_dot_product_attention(in[0], in[1], in[2], {.mask = mask});
           },
       .reference =
           [=](In in) {
             const Tensor mask = holes * tensor<std::int64_t>({1, 0, 1}, {3, 1});
             return attended(in, mask, {}, false, 1 / std::sqrt(2.0));
           },
       .samples = {qkv({2}, 3, 4, 2, 3)},
       .float32_tolerance = 1e-4},
      {.name = "scaled_dot_product_attention",
       .variant = "with a mask that is added and has a gradient",
       .call =
           [=](In in) {
             const Tensor forbidden = where(holes, in[3], -std::numeric_limits<double>::infinity());
             return scaled_dot_product_attention(in[0], in[1], in[2],
                                                 {.mask = in[3].dim() == 2 ? forbidden : in[3]});
           },
       .reference =
           [=](In in) {
             return attended(in, in[3].dim() == 2 ? holes : Tensor(), in[3], false, 1 / std::sqrt(2.0));
           },
       .samples = {with(qkv({2}, 3, 4, 2, 3), uniform({3, 4}, 9)),
                   with(qkv({2, 2}, 3, 4, 2, 3), uniform({2, 1, 1, 4}, 9)),
                   with(qkv({2, 2}, 3, 4, 2, 3), uniform({2, 3, 1}, 9))},
       .float32_tolerance = 1e-4},
      layer_case("lstm_layer", Cell::lstm),
      ragged_case("lstm_layer", Cell::lstm),
      layer_case("gru_layer", Cell::gru),
      ragged_case("gru_layer", Cell::gru),
      layer_case("rnn_layer", Cell::rnn_tanh),
      ragged_case("rnn_layer", Cell::rnn_tanh),
      layer_case("rnn_layer", Cell::rnn_relu),
      ragged_case("rnn_layer", Cell::rnn_relu),
  };
}

}  // namespace retort::tests
