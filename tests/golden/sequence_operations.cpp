// Attention, recurrent networks and their modules.
#include "operations.hpp"
#include "retort/framework/nn/attention.hpp"
#include "retort/framework/nn/recurrent.hpp"
#include "retort/framework/ops/attention.hpp"

namespace retort::golden {
namespace {

Tensor optional_tensor(const NamedTensors& in, const char* name) {
  const auto found = in.find(name);
  return found == in.end() ? Tensor() : found->second;
}

/// Puts the case's tensors themselves in the place of a module's parameters, so that gradients reach them.
void use(const NamedTensors& in, const std::string& name, Tensor& parameter) {
  if (parameter.defined()) parameter = in.at(name);
}
void use(const NamedTensors& in, const std::string& prefix, MultiheadAttention& module) {
  use(in, prefix + "in_proj_weight", module.in_proj_weight);
  use(in, prefix + "q_proj_weight", module.q_proj_weight);
  use(in, prefix + "k_proj_weight", module.k_proj_weight);
  use(in, prefix + "v_proj_weight", module.v_proj_weight);
  use(in, prefix + "in_proj_bias", module.in_proj_bias);
  use(in, prefix + "out_proj.weight", module.out_proj.weight);
  use(in, prefix + "out_proj.bias", module.out_proj.bias);
}

Results attention(const Arguments& args, const NamedTensors& in) {
  ScaledDotProductAttentionOptions options{.mask = optional_tensor(in, "mask"),
                                           .is_causal = args.flag("is_causal", false)};
  if (args.has("scale")) options.scale = args.number("scale", 1);
  return {.outputs = {
              {"out", scaled_dot_product_attention(in.at("query"), in.at("key"), in.at("value"), options)}}};
}

AttentionMasks masks(const Arguments& args, const NamedTensors& in) {
  return {.key_mask = optional_tensor(in, "key_mask"),
          .mask = optional_tensor(in, "mask"),
          .is_causal = args.flag("is_causal", false)};
}

Results multihead(const Arguments& args, const NamedTensors& in) {
  const Tensor query = in.at("query");
  const Tensor key = in.contains("key") ? in.at("key") : query,
               value = in.contains("value") ? in.at("value") : key;
  MultiheadAttentionOptions options{.bias = args.flag("bias", true)};
  if (args.has("kdim")) options.kdim = args.integer("kdim", 0);
  if (args.has("vdim")) options.vdim = args.integer("vdim", 0);
  MultiheadAttention module(query.size(2), args.integer("heads", 1), options);
  use(in, "", module);
  return {.outputs = {{"out", module(query, key, value, masks(args, in))}}};
}

Results encoder_layer(const Arguments& args, const NamedTensors& in) {
  const Tensor x = in.at("x");
  TransformerEncoderLayer layer(x.size(2), args.integer("heads", 1),
                                {.dim_feedforward = args.integer("dim_feedforward", 2048),
                                 .dropout = 0,
                                 .activation = args.text("activation", "relu"),
                                 .layer_norm_eps = args.number("layer_norm_eps", 1e-5),
                                 .norm_first = args.flag("norm_first", false)});
  use(in, "self_attn.", layer.self_attn);
  use(in, "linear1.weight", layer.linear1.weight);
  use(in, "linear1.bias", layer.linear1.bias);
  use(in, "linear2.weight", layer.linear2.weight);
  use(in, "linear2.bias", layer.linear2.bias);
  use(in, "norm1.weight", layer.norm1.weight);
  use(in, "norm1.bias", layer.norm1.bias);
  use(in, "norm2.weight", layer.norm2.weight);
  use(in, "norm2.bias", layer.norm2.bias);
  return {.outputs = {{"out", layer(x, masks(args, in))}}};
}

/// A recurrent module with the case's tensors as its parameters.
template <class M, class Options = RecurrentOptions>
M recurrent(const Arguments& args, const NamedTensors& in, Options options = {}) {
  options.num_layers = args.integer("num_layers", 1);
  options.bias = args.flag("bias", true);
  options.bidirectional = args.flag("bidirectional", false);
  M module(args.integer("input", 1), args.integer("hidden", 1), options);
  const std::size_t directions = args.flag("bidirectional", false) ? 2 : 1;
  for (std::size_t i = 0; i < module.layers.size(); ++i) {
    const std::string suffix =
        "_l" + std::to_string(i / directions) + (i % directions == 1 ? "_reverse" : "");
    use(in, "weight_ih" + suffix, module.layers[i].weight_ih);
    use(in, "weight_hh" + suffix, module.layers[i].weight_hh);
    use(in, "bias_ih" + suffix, module.layers[i].bias_ih);
    use(in, "bias_hh" + suffix, module.layers[i].bias_hh);
  }
  return module;
}

Results lstm(const Arguments& args, const NamedTensors& in) {
  const LSTMOutput out = recurrent<LSTM>(args, in)(in.at("x"), {.h0 = optional_tensor(in, "h0"),
                                                                .c0 = optional_tensor(in, "c0"),
                                                                .lengths = optional_tensor(in, "lengths")});
  return {.outputs = {{"output", out.output}, {"h", out.h}, {"c", out.c}}};
}

Results gru(const Arguments& args, const NamedTensors& in) {
  const GRUOutput out = recurrent<GRU>(args, in)(
      in.at("x"), {.h0 = optional_tensor(in, "h0"), .lengths = optional_tensor(in, "lengths")});
  return {.outputs = {{"output", out.output}, {"h", out.h}}};
}

Results rnn(const Arguments& args, const NamedTensors& in) {
  const RNNOptions options{.nonlinearity = args.text("nonlinearity", "tanh")};
  const RNNOutput out = recurrent<RNN>(args, in, options)(
      in.at("x"), {.h0 = optional_tensor(in, "h0"), .lengths = optional_tensor(in, "lengths")});
  return {.outputs = {{"output", out.output}, {"h", out.h}}};
}

}  // namespace

std::vector<Form> sequence_operation(const std::string& op) {
  if (op == "scaled_dot_product_attention") return {{"function", attention}};
  if (op == "MultiheadAttention") return {{"module", multihead}};
  if (op == "TransformerEncoderLayer") return {{"module", encoder_layer}};
  if (op == "LSTM") return {{"module", lstm}};
  if (op == "GRU") return {{"module", gru}};
  if (op == "RNN") return {{"module", rnn}};
  return {};
}

}  // namespace retort::golden
