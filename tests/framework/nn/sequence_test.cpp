// Attention, recurrent nets and FeatureRecorder: cases that neither the golden files nor the op table cover.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "retort/retort.hpp"

namespace {

using namespace retort;

/// f's results, made with 1, 2 and 4 threads, must have the same bits.
template <class F>
void check_threads(F&& f) {
  const int before = get_num_threads();
  std::vector<std::vector<double>> first;
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    std::vector<std::vector<double>> bits;
    for (const Tensor& result : f()) bits.push_back(result.template values<double>());
    if (threads == 1) first = bits;
    BOOST_TEST((bits == first));
  }
  set_num_threads(before);
}

double largest_difference(const Tensor& a, const Tensor& b) {
  BOOST_TEST_REQUIRE((a.shape() == b.shape()));
  const auto x = a.values<double>(), y = b.values<double>();
  double largest = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    BOOST_TEST_REQUIRE(!std::isnan(x[i]));
    largest = std::max(largest, std::abs(x[i] - y[i]));
  }
  return largest;
}

/// The gradients by the kernel and by the recorded reference.
void check_both_rules(const Tensor& y, const Tensors& inputs, double tolerance) {
  const Tensor g = randn(y.shape(), y.dtype());
  const Tensors fast = grad({y}, inputs, {.grad_outputs = {g}, .retain_graph = true});
  const Tensors slow = grad({y}, inputs, {.grad_outputs = {g}, .create_graph = true});
  for (std::size_t i = 0; i < inputs.size(); ++i)
    BOOST_TEST(largest_difference(fast[i], slow[i]) <= tolerance, "input " << i);
}

Tensors attention_inputs(std::int64_t heads, std::int64_t l, std::int64_t s, std::int64_t e, std::int64_t v) {
  return {randn({heads, l, e}, DType::float64).set_requires_grad(),
          randn({heads, s, e}, DType::float64).set_requires_grad(),
          randn({heads, s, v}, DType::float64).set_requires_grad()};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(sequences)

BOOST_AUTO_TEST_CASE(attention_over_several_tiles_equals_its_reference) {
  manual_seed(1);
  for (const bool is_causal : {false, true})
    for (const auto& [l, s] : {std::pair<std::int64_t, std::int64_t>{130, 150}, {150, 70}, {65, 64}}) {
      const Tensors in = attention_inputs(2, l, s, 19, 5);
      const Tensor added = randn({l, s}, DType::float64).set_requires_grad();
      check_both_rules(scaled_dot_product_attention(in[0], in[1], in[2], {.is_causal = is_causal}), in,
                       1e-12);
      check_both_rules(
          scaled_dot_product_attention(in[0], in[1], in[2], {.mask = added, .is_causal = is_causal}),
          {in[0], in[1], in[2], added}, 1e-12);
    }
}

BOOST_AUTO_TEST_CASE(dropped_weights_are_the_same_in_the_value_and_in_both_rules) {
  manual_seed(2);
  const Tensors in = attention_inputs(3, 70, 67, 4, 4);
  const Tensor y = scaled_dot_product_attention(in[0], in[1], in[2], {.dropout_p = 0.3});
  check_both_rules(y, in, 1e-12);
  // With values of 1 a result is the sum of the kept weights, divided by 1 - p.
  const Tensor sums =
      scaled_dot_product_attention(in[0], in[1], ones({3, 67, 1}, DType::float64), {.dropout_p = 0.3});
  BOOST_TEST(std::abs(mean(sums).item<double>() - 1) < 0.05);
  BOOST_TEST(largest_difference(sums, ones({3, 70, 1}, DType::float64)) > 0.05);
  BOOST_TEST(largest_difference(scaled_dot_product_attention(in[0], in[1], in[2], {.dropout_p = 1}),
                                zeros({3, 70, 4}, DType::float64)) == 0);
  BOOST_CHECK_THROW(scaled_dot_product_attention(in[0], in[1], in[2], {.dropout_p = 1.5}), ValueError);
}

BOOST_AUTO_TEST_CASE(bits_do_not_depend_on_threads) {
  manual_seed(3);
  const Tensor q = randn({2, 200, 16}).set_requires_grad(), k = randn({2, 300, 16}).set_requires_grad(),
               v = randn({2, 300, 8}).set_requires_grad(), mask = randn({1, 300}).set_requires_grad();
  const Generator state = generator_state();
  check_threads([&] {
    set_generator_state(state);
    const Tensor y =
        scaled_dot_product_attention(q, k, v, {.mask = mask, .is_causal = true, .dropout_p = 0.1});
    Tensors results = grad({sum(y * y)}, {q, k, v, mask});
    results.push_back(y);
    return results;
  });
  LSTM lstm(6, 10, {.num_layers = 2, .bidirectional = true});
  GRU gru(6, 10);
  const Tensor x = randn({40, 9, 6}).set_requires_grad();
  check_threads([&] {
    const LSTMOutput out = lstm(x);
    Tensors inputs = lstm.parameters();
    inputs.push_back(x);
    Tensors results = grad({sum(out.output * out.output) + sum(out.c)}, inputs);
    results.push_back(out.output);
    const GRUOutput other = gru(x);
    for (const Tensor& gradient : grad({sum(other.output * other.output)}, gru.parameters()))
      results.push_back(gradient);
    return results;
  });
}

BOOST_AUTO_TEST_CASE(attention_holds_no_array_of_queries_times_keys) {
  const Tensor q = randn({1, 8, 1024, 64}).set_requires_grad();
  reset_peak_memory();
  const std::int64_t before = memory_stats().in_use;
  const Tensor y = scaled_dot_product_attention(q, q, q);
  y.backward(ones_like(y));
  // Results and gradients have 2 MB each; an array of scores would have 32 MB.
  BOOST_TEST(memory_stats().peak_in_use - before < std::int64_t{16} << 20);
}

BOOST_AUTO_TEST_CASE(self_attention_equals_attention_of_copies) {
  manual_seed(4);
  MultiheadAttention attention(12, 3, {.dropout = 0.5});
  attention.eval();
  const Tensor x = randn({2, 5, 12});
  const Tensor mask = tensor<std::int64_t>({1, 1, 1, 0, 0, 1, 1, 1, 1, 0}, {2, 5});
  BOOST_TEST(largest_difference(attention(x, x, x, {.key_mask = mask}),
                                attention(x, x.clone(), x.clone(), {.key_mask = mask})) < 1e-6);
  BOOST_CHECK_THROW(attention(x, x, randn({2, 4, 12})), ShapeError);
  BOOST_CHECK_THROW(attention(x, x, x, {.key_mask = ones({2, 4}, DType::int64)}), ShapeError);
  BOOST_CHECK_THROW(attention(x, x, x, {.key_mask = full({x.size(0), x.size(1)}, 2, DType::int64)}),
                    ValueError);
  AttentionCache cache;
  attention(x, cache);
  BOOST_CHECK_THROW(attention(x.to(DType::float64), cache), TypeError);
  cache.values = Tensor();
  BOOST_CHECK_THROW(attention(x, cache), ValueError);
  BOOST_CHECK_THROW(attention(x, x, x, {.mask = ones({4, 5}, DType::int64)}), ShapeError);
  BOOST_CHECK_THROW(MultiheadAttention(12, 5), ValueError);
  BOOST_CHECK_THROW(TransformerEncoderLayer(12, 3, {.activation = "tanh"}), ValueError);
}

BOOST_AUTO_TEST_CASE(gradients_of_self_attention_equal_those_of_attention_of_copies) {
  manual_seed(5);
  // One sequence is divided among threads by its keys.
  for (const auto& [n, l] : {std::pair<std::int64_t, std::int64_t>{1, 150}, {5, 20}}) {
    MultiheadAttention attention(12, 2, {.dropout = 0.2});
    attention.to(DType::float64);
    const Tensor x = randn({n, l, 12}, DType::float64).set_requires_grad(),
                 mask = randn({l, l}, DType::float64).set_requires_grad();
    Tensors inputs = attention.parameters();
    inputs.push_back(x);
    inputs.push_back(mask);
    const AttentionMasks masks{.mask = mask, .is_causal = true};
    const Generator state = generator_state();
    const auto energy = [](const Tensor& y) { return sum(y * y); };
    const auto run = [&](bool copies) {
      set_generator_state(state);
      return attention(x, copies ? x * 1 : x, copies ? x * 1 : x, masks);
    };
    check_both_rules(run(false), inputs, 1e-12);
    BOOST_TEST(largest_difference(run(false), run(true)) < 1e-12);
    const auto second = [&](bool copies) {
      const Tensors first = grad({energy(run(copies))}, inputs, {.create_graph = true});
      return grad({energy(first.back()) + energy(first[0])}, inputs);
    };
    const Tensors shared = second(false), apart = second(true);
    for (std::size_t i = 0; i < inputs.size(); ++i)
      BOOST_TEST(largest_difference(shared[i], apart[i]) < 1e-9, "input " << i);
    check_threads([&] { return grad({energy(run(false))}, inputs); });
  }
}

BOOST_AUTO_TEST_CASE(names_of_parameters_are_those_of_pytorch) {
  const auto names = [](const Module& module) {
    std::vector<std::string> found;
    for (const auto& [name, tensor] : module.named_parameters()) found.push_back(name);
    return found;
  };
  using Names = std::vector<std::string>;
  BOOST_TEST((names(MultiheadAttention(4, 2)) ==
              Names{"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"}));
  BOOST_TEST((names(MultiheadAttention(4, 2, {.bias = false, .vdim = 3})) ==
              Names{"q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"}));
  BOOST_TEST((names(LSTM(2, 3, {.bidirectional = true})) ==
              Names{"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_ih_l0_reverse",
                    "weight_hh_l0_reverse", "bias_ih_l0_reverse", "bias_hh_l0_reverse"}));
  BOOST_TEST((names(GRU(2, 3, {.num_layers = 2, .bias = false})) ==
              Names{"weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"}));
  BOOST_TEST(names(TransformerEncoderLayer(4, 2)).size() == 12);
}

BOOST_AUTO_TEST_CASE(what_lies_beyond_a_length_has_no_influence) {
  manual_seed(5);
  LSTM lstm(2, 3, {.bidirectional = true});
  Tensor x = randn({2, 4, 2}), padded = x.clone();
  for (std::size_t i = 4; i < 8; ++i)
    padded.mutable_data<float>()[i] = std::numeric_limits<float>::quiet_NaN();
  const Tensor lengths = tensor<std::int64_t>({2, 4});
  const LSTMOutput want = lstm(x, {.lengths = lengths}), got = lstm(padded, {.lengths = lengths});
  BOOST_TEST(largest_difference(got.output, want.output) == 0);
  BOOST_TEST(largest_difference(slice(got.output, 1, 2, 4), zeros({2, 2, 6})) > 0);
  BOOST_TEST(largest_difference(select(slice(got.output, 1, 2, 4), 0, 0), zeros({2, 6})) == 0);
  const Tensors gradients = grad({sum(got.output)}, lstm.parameters());
  for (const Tensor& gradient : gradients) BOOST_TEST(std::isfinite(sum(gradient).item<float>()));
  BOOST_CHECK_THROW(lstm(x, {.lengths = tensor<std::int64_t>({2, 5})}), ValueError);
  BOOST_CHECK_THROW(lstm(x, {.lengths = tensor<std::int64_t>({2})}), ShapeError);
  BOOST_CHECK_THROW(lstm(x, {.h0 = zeros({1, 2, 3})}), ShapeError);
  BOOST_CHECK_THROW(lstm(randn({4, 2})), ShapeError);
  BOOST_CHECK_THROW(LSTM(0, 2), ValueError);
}

BOOST_AUTO_TEST_CASE(sequences_without_rows_or_steps) {
  BOOST_CHECK_THROW(RNN(2, 3, {.nonlinearity = "sigmoid"}), ValueError);
  GRU gru(2, 3, {.num_layers = 2});
  const GRUOutput none = gru(randn({2, 0, 2}));
  BOOST_TEST((none.output.shape() == Shape{2, 0, 3}));
  BOOST_TEST(largest_difference(none.h, zeros({2, 2, 3})) == 0);
  BOOST_TEST((gru(randn({0, 4, 2})).output.shape() == Shape{0, 4, 3}));
  sum(none.h).backward();
}

BOOST_AUTO_TEST_CASE(a_loop_over_parts_costs_what_the_parts_cost_to_any_order) {
  const Tensor x = randn({6, 4}, DType::float64).set_requires_grad();
  const std::int64_t before = live_nodes();
  const Tensors parts = unbind(x);
  BOOST_TEST(live_nodes() - before <=
             7);  // one operation and its results, however deep the loop over them is
  Tensor y = zeros({4}, DType::float64);
  for (const Tensor& part : parts) y = y + part * part * part;
  const Tensor first = grad({sum(y)}, {x}, {.create_graph = true})[0];
  const Tensor second = grad({sum(first)}, {x}, {.create_graph = true})[0];
  BOOST_TEST(largest_difference(first, 3 * x * x) < 1e-12);
  BOOST_TEST(largest_difference(second, 6 * x) < 1e-12);
  BOOST_TEST(largest_difference(grad({sum(second)}, {x})[0], full({6, 4}, 6, DType::float64)) < 1e-12);
  // A part that nothing flows into has a zero gradient.
  BOOST_TEST(largest_difference(grad({sum(split(x, 4)[1])}, {x})[0],
                                concat({zeros({4, 4}, DType::float64), ones({2, 4}, DType::float64)})) == 0);
}

namespace {

class Block : public Module {
 public:
  Linear inner{3, 3};
  Tensor operator()(const Tensor& x) const { return this->output(relu(inner(x))); }
  RETORT_MEMBERS(inner)
};
class Silent : public Module {
 public:
  Tensor operator()(const Tensor& x) const { return x; }
};
class Net : public Module {
 public:
  std::vector<Block> blocks = std::vector<Block>(2);
  Sequential head{Linear(3, 2), LogSoftmax(-1)};
  Silent silent;
  Tensor operator()(const Tensor& x) const { return output(head(silent(blocks[1](blocks[0](x))))); }
  RETORT_MEMBERS(blocks, head, silent)
};

}  // namespace

BOOST_AUTO_TEST_CASE(a_recorder_keeps_the_outputs_of_modules_inside) {
  const Net net;
  const Tensor x = randn({4, 3});
  Tensor before;
  {
    const FeatureRecorder recorder(net, {"blocks.1", "head", "head.0", "", "silent", "blocks.0.inner"});
    BOOST_CHECK_THROW(recorder["head"], ValueError);
    before = net(x);
    BOOST_TEST(retort::detail::Access::same(recorder["head"], before));
    BOOST_TEST(retort::detail::Access::same(recorder[""], before));
    BOOST_TEST(largest_difference(recorder["blocks.1"], net.blocks[1](net.blocks[0](x))) == 0);
    BOOST_TEST(recorder["blocks.1"].requires_grad());
    sum(recorder["head.0"]).backward();
    BOOST_TEST(net.blocks[0].inner.weight.grad().defined());
    BOOST_TEST((recorder["blocks.0.inner"].shape() == Shape{4, 3}));
    BOOST_CHECK_THROW(recorder["silent"], ValueError);
    BOOST_CHECK_THROW(recorder["blocks.0"], ValueError);
    const FeatureRecorder other(net, {"head"});
    const Tensor after = net(x);
    BOOST_TEST(retort::detail::Access::same(other["head"], after));
    BOOST_TEST(retort::detail::Access::same(recorder["head"], after));
  }
  net(x);
  BOOST_CHECK_EXCEPTION(FeatureRecorder(net, {"blocks.2"}), ValueError, [](const ValueError& error) {
    return std::string(error.what()).find("'blocks.1'") != std::string::npos;
  });
  BOOST_CHECK_THROW(FeatureRecorder(net, {"head.0.weight"}), ValueError);
}

BOOST_AUTO_TEST_CASE(all_activation_modules_are_their_functions) {
  const Tensor x = randn({5});
  const auto check = [&](auto&& module, const Tensor& want) {
    const FeatureRecorder recorder(module, {""});
    BOOST_TEST(largest_difference(module(x), want) == 0);
    BOOST_TEST(largest_difference(recorder[""], want) == 0);
  };
  check(ReLU(), relu(x));
  check(Tanh(), tanh(x));
  check(Sigmoid(), sigmoid(x));
  check(SiLU(), silu(x));
  check(GELU(), gelu(x));
  check(GELU({.approximate = GeluApproximation::tanh}), gelu(x, GeluApproximation::tanh));
  check(GELU(GeluApproximation::tanh), gelu(x, GeluApproximation::tanh));
  check(Softplus(), softplus(x));
  check(Softplus({}), softplus(x));
  check(GELU({}), gelu(x));
  check(ReLU6(), relu6(x));
  check(Hardsigmoid(), hardsigmoid(x));
  check(Hardswish(), hardswish(x));
  check(PReLU(), prelu(x, tensor({0.25F})));
  check(PReLU(1, {.init = 0.5}), prelu(x, tensor({0.5F})));
  check(Softplus({.beta = 2, .threshold = 3}), softplus(x, {.beta = 2, .threshold = 3}));
  check(LeakyReLU(), leaky_relu(x, 0.01));
  check(LeakyReLU(0.2), leaky_relu(x, 0.2));
  check(ELU(0.5), elu(x, 0.5));
  check(Softmax(0), softmax(x, 0));
  check(LogSoftmax(-1), log_softmax(x, -1));
  check(Identity(), x);
}

BOOST_AUTO_TEST_CASE(a_cache_gives_the_results_of_the_whole_sequence) {
  manual_seed(5);
  TransformerEncoderLayer first(16, 4, {.dim_feedforward = 24, .activation = "gelu", .norm_first = true});
  TransformerEncoderLayer second(16, 4, {.dim_feedforward = 24});
  const NoGradGuard no_grad;
  const Tensor x = randn({3, 40, 16});
  for (TransformerEncoderLayer* const layer : {&first, &second}) {
    layer->eval();
    const Tensor whole = (*layer)(x, {.is_causal = true});
    AttentionCache cache;
    Tensors parts;  // a prompt of 7, single positions, a part of 5 in between
    for (std::int64_t begin = 0, length = 7; begin < 40; begin += length, length = begin == 20 ? 5 : 1)
      parts.push_back((*layer)(slice(x, 1, begin, begin + length), cache));
    BOOST_TEST(parts.size() == 30U);
    BOOST_TEST(cache.keys.shape() == (Shape{3, 40, 16}));
    BOOST_TEST(largest_difference(concat(parts, 1), whole) < 1e-5);
  }
}

BOOST_AUTO_TEST_CASE(a_cache_refuses_another_batch_and_stays_as_it_was) {
  const MultiheadAttention attention(8, 2);
  AttentionCache cache;
  static_cast<void>(attention(randn({2, 3, 8}), cache));
  BOOST_CHECK_THROW(attention(randn({1, 1, 8}), cache), ShapeError);
  BOOST_CHECK_THROW(attention(randn({2, 1, 6}), cache), ShapeError);
  BOOST_CHECK_THROW(attention(randn({2, 8}), cache), ShapeError);
  BOOST_TEST(cache.keys.shape() == (Shape{2, 3, 8}));
  AttentionCache other;
  BOOST_CHECK_THROW(MultiheadAttention(8, 2, {.kdim = 6})(randn({2, 3, 8}), other), ShapeError);
}

BOOST_AUTO_TEST_CASE(attention_weights_explain_the_result) {
  manual_seed(6);
  for (const bool is_causal : {false, true}) {
    MultiheadAttention attention(12, 3);
    const Tensor x = randn({2, 5, 12});
    const Tensor keys = tensor(std::vector<std::int64_t>{1, 1, 1, 0, 0, 0, 1, 1, 1, 1}, {2, 5});
    const AttentionMasks masks{.key_mask = keys, .is_causal = is_causal};
    const Tensor w = attention.weights(x, x, masks);
    BOOST_TEST(w.shape() == (Shape{2, 3, 5, 5}));
    const Tensor v =
        linear(x, slice(attention.in_proj_weight, 0, 24, 36), slice(attention.in_proj_bias, 0, 24, 36));
    const Tensor joined =
        reshape(transpose(matmul(w, transpose(reshape(v, {2, 5, 3, 4}), 1, 2)), 1, 2), {2, 5, 12});
    BOOST_TEST(largest_difference(attention.out_proj(joined), attention(x, x, x, masks)) < 1e-5);
  }
  const MultiheadAttention narrow(8, 2, {.kdim = 6, .vdim = 4});
  const Tensor w = narrow.weights(randn({1, 3, 8}), randn({1, 2, 6}));
  BOOST_TEST(largest_difference(sum(w, -1), ones({1, 2, 3})) < 1e-6);
  BOOST_CHECK_THROW(narrow.weights(randn({1, 3, 8}), randn({1, 2, 8})), ShapeError);
}

BOOST_AUTO_TEST_SUITE_END()
