#include "retort/framework/nn/attention.hpp"

#include <cmath>
#include <limits>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/nn/init.hpp"
#include "retort/framework/ops/attention.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/layout.hpp"
#include "retort/framework/ops/matmul.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/framework/ops/softmax.hpp"

namespace retort {
namespace {

// Combines the key mask with the other mask, which must broadcast to the scores (N, heads, L, S).
// Undefined if there is neither.
Tensor merged_mask(const char* operation, const AttentionMasks& masks, const Tensor& key,
                   const Shape& scores) {
  Tensor mask = masks.mask;
  if (mask.defined() && !detail::broadcasts(mask.shape(), scores))
    throw ShapeError(message("{}: the mask has shape {}; it must broadcast to (N, heads, L, S) = {}",
                             operation, mask.shape(), scores));
  if (mask.defined() && mask.dtype() == DType::int64) detail::require_0_or_1(operation, "the mask", mask);
  if (masks.key_mask.defined()) {
    const Shape expected{key.size(0), key.size(1)};
    detail::require_int64(operation, "key_mask", masks.key_mask);
    if (masks.key_mask.shape() != expected)
      throw ShapeError(message("{}: the key_mask has shape {}; it must be (N, S) = {}", operation,
                               masks.key_mask.shape(), expected));
    detail::require_0_or_1(operation, "the key_mask", masks.key_mask);
    const Tensor keys = reshape(masks.key_mask, {expected[0], 1, 1, expected[1]});
    if (!mask.defined())
      mask = keys;
    else
      mask =
          where(keys, mask,
                mask.dtype() == DType::int64 ? Scalar(0) : Scalar(-std::numeric_limits<double>::infinity()));
  }
  return mask;
}

// The width of a layer, which its heads must divide.
std::int64_t checked_width(const char* operation, const char* what, std::int64_t width, std::int64_t heads) {
  if (width < 1 || heads < 1 || width % heads != 0)
    throw ValueError(
        message("{}: {} is {} and there are {}; both must be at least 1, and the heads must divide it",
                operation, what, width, detail::counted(heads, "head")));
  return width;
}

constexpr const char* encoder_layer = "TransformerEncoderLayer";

// The options, checked before any layer is constructed from them.
const TransformerEncoderLayerOptions& checked(const TransformerEncoderLayerOptions& options) {
  const char* const name = encoder_layer;
  detail::require_option(options.dim_feedforward >= 1, name, "dim_feedforward", options.dim_feedforward,
                         "at least 1");
  detail::require_from_0_to_1(name, "dropout", options.dropout);
  detail::require_at_least_0(name, "layer_norm_eps", options.layer_norm_eps);
  detail::require_option(options.activation == "relu" || options.activation == "gelu", name, "activation",
                         options.activation, "relu or gelu");
  return options;
}

bool same(const Tensor& query, const Tensor& key, const Tensor& value) {
  return detail::Access::same(query, key) && detail::Access::same(key, value);
}

}  // namespace

MultiheadAttention::MultiheadAttention(std::int64_t embed_dim, std::int64_t heads,
                                       MultiheadAttentionOptions options)
    : out_proj(checked_width("MultiheadAttention", "embed_dim", embed_dim, heads), embed_dim,
               {.bias = options.bias}),
      embed_dim_(embed_dim),
      heads_(heads),
      kdim_(options.kdim.value_or(embed_dim)),
      vdim_(options.vdim.value_or(embed_dim)),
      dropout_(options.dropout) {
  if (kdim_ < 1 || vdim_ < 1)
    throw ValueError(message("{}: kdim is {} and vdim {}; they must be at least 1", name_, kdim_, vdim_));
  detail::require_from_0_to_1(name_, "dropout", dropout_);
  const auto weight = [&](std::int64_t rows, std::int64_t columns) {
    return init::xavier_uniform_(empty({rows, columns})).set_requires_grad();
  };
  if (kdim_ == embed_dim && vdim_ == embed_dim) {
    in_proj_weight = weight(3 * embed_dim, embed_dim);
  } else {
    q_proj_weight = weight(embed_dim, embed_dim);
    k_proj_weight = weight(embed_dim, kdim_);
    v_proj_weight = weight(embed_dim, vdim_);
  }
  if (!options.bias) return;
  in_proj_bias = zeros({3 * embed_dim}).set_requires_grad();
  init::zeros_(out_proj.bias);
}

Tensors MultiheadAttention::projected(const Tensor& query, const Tensor& key, const Tensor& value) const {
  // Self-attention needs a single product for all three projections.
  if (in_proj_weight.defined() && same(query, key, value))
    return chunk(linear(query, in_proj_weight, in_proj_bias), 3, -1);
  const Tensors weights = in_proj_weight.defined() ? chunk(in_proj_weight, 3)
                                                   : Tensors{q_proj_weight, k_proj_weight, v_proj_weight};
  const Tensors biases = in_proj_bias.defined() ? chunk(in_proj_bias, 3) : Tensors(3);
  return {linear(query, weights[0], biases[0]), linear(key, weights[1], biases[1]),
          linear(value, weights[2], biases[2])};
}

Tensor MultiheadAttention::operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                                      const AttentionMasks& masks) const {
  for (const auto& [what, x] :
       {std::pair<const char*, const Tensor&>("query", query), {"key", key}, {"value", value}})
    detail::require_floating(name_, what, x);
  if (query.dim() != 3 || key.dim() != 3 || value.dim() != 3 || query.size(0) != key.size(0) ||
      key.size(0) != value.size(0) || key.size(1) != value.size(1) || query.size(2) != embed_dim_ ||
      key.size(2) != kdim_ || value.size(2) != vdim_)
    throw ShapeError(message(
        "{}: query has shape {}, key {} and value {}; they must be (N, L, {}), (N, S, {}) and (N, S, {})",
        name_, query.shape(), key.shape(), value.shape(), embed_dim_, kdim_, vdim_));
  const Tensor mask = merged_mask(name_, masks, key, {query.size(0), heads_, query.size(1), key.size(1)});
  const bool is_shared = in_proj_weight.defined() && same(query, key, value);
  const Tensors in =
      is_shared ? Tensors{linear(query, in_proj_weight, in_proj_bias), {}, {}} : projected(query, key, value);
  return output(out_proj(detail::attention_of_heads(
      name_, in[0], in[1], in[2], heads_,
      {.mask = mask, .is_causal = masks.is_causal, .dropout_p = is_training() ? dropout_ : 0})));
}

Tensor MultiheadAttention::weights(const Tensor& query, const Tensor& key,
                                   const AttentionMasks& masks) const {
  detail::require_floating(name_, "query", query);
  detail::require_floating(name_, "key", key);
  if (query.dim() != 3 || key.dim() != 3 || query.size(0) != key.size(0) || query.size(2) != embed_dim_ ||
      key.size(2) != kdim_)
    throw ShapeError(message("{}: query has shape {} and key {}; they must be (N, L, {}) and (N, S, {})",
                             name_, query.shape(), key.shape(), embed_dim_, kdim_));
  const std::int64_t n = query.size(0), width = embed_dim_ / heads_;
  const Tensors weights =
      in_proj_weight.defined() ? chunk(in_proj_weight, 3) : Tensors{q_proj_weight, k_proj_weight};
  const Tensors biases = in_proj_bias.defined() ? chunk(in_proj_bias, 3) : Tensors(2);
  const auto heads = [&](const Tensor& x, std::size_t i) {
    return transpose(reshape(linear(x, weights[i], biases[i]), {n, x.size(1), heads_, width}), 1, 2);
  };
  Tensor scores =
      matmul(heads(query, 0), transpose(heads(key, 1), 2, 3)) / std::sqrt(static_cast<double>(width));
  constexpr double never = -std::numeric_limits<double>::infinity();
  const Tensor mask = merged_mask(name_, masks, key, scores.shape());
  if (mask.defined()) scores = mask.dtype() == DType::int64 ? where(mask, scores, never) : scores + mask;
  if (masks.is_causal) scores = where(tril(ones({query.size(1), key.size(1)}, DType::int64)), scores, never);
  const Tensor sees = greater(amax(scores.detach(), -1, true), never);
  return where(sees, softmax(where(sees, scores, 0), -1), 0);
}

Tensor MultiheadAttention::operator()(const Tensor& x, AttentionCache& cache) const {
  detail::require_floating(name_, "x", x);
  if (kdim_ != embed_dim_ || vdim_ != embed_dim_)
    throw ShapeError(message("{}: kdim is {} and vdim {}; with a cache both must be embed_dim = {}", name_,
                             kdim_, vdim_, embed_dim_));
  if (x.dim() != 3 || x.size(2) != embed_dim_)
    throw ShapeError(
        message("{}: x has shape {}; with a cache it must be (N, L, {})", name_, x.shape(), embed_dim_));
  const bool is_first = !cache.keys.defined() && !cache.values.defined();
  if (!is_first) {
    detail::require_defined(name_, "the cache's keys", cache.keys);
    detail::require_defined(name_, "the cache's values", cache.values);
  }
  const std::int64_t past = is_first ? 0 : cache.keys.size(1), length = x.size(1);
  if (!is_first && (cache.keys.shape() != Shape{x.size(0), past, embed_dim_} ||
                    cache.values.shape() != cache.keys.shape()))
    throw ShapeError(
        message("{}: x has shape {} but the cache holds keys {} and values {}; begin each batch of "
                "sequences with a new cache",
                name_, x.shape(), cache.keys.shape(), cache.values.shape()));
  const Tensors in = projected(x, x, x);
  if (!is_first && (cache.keys.dtype() != in[1].dtype() || cache.values.dtype() != in[2].dtype()))
    throw TypeError(
        message("{}: the keys are {} but the cache holds keys of {} and values of {}; begin with a new cache",
                name_, in[1].dtype(), cache.keys.dtype(), cache.values.dtype()));
  const Tensor keys = is_first ? in[1] : concat({cache.keys, in[1]}, 1);
  const Tensor values = is_first ? in[2] : concat({cache.values, in[2]}, 1);
  ScaledDotProductAttentionOptions options{.is_causal = is_first, .dropout_p = is_training() ? dropout_ : 0};
  // is_causal counts queries from the first key; after a cached prefix, queries also attend to all of it.
  if (!is_first && length > 1) options.mask = tril(ones({length, past + length}, DType::int64), past);
  const Tensor y = out_proj(detail::attention_of_heads(name_, in[0], keys, values, heads_, options));
  cache = {keys, values};
  return output(y);
}

TransformerEncoderLayer::TransformerEncoderLayer(std::int64_t d_model, std::int64_t heads,
                                                 TransformerEncoderLayerOptions options)
    : self_attn(checked_width(encoder_layer, "d_model", d_model, heads), heads,
                {.dropout = checked(options).dropout}),
      linear1(d_model, options.dim_feedforward),
      dropout(options.dropout),
      linear2(options.dim_feedforward, d_model),
      norm1(d_model, {.eps = options.layer_norm_eps}),
      norm2(d_model, {.eps = options.layer_norm_eps}),
      dropout1(options.dropout),
      dropout2(options.dropout),
      is_gelu_(options.activation == "gelu"),
      norm_first_(options.norm_first) {
  self_attn.name_ = encoder_layer;
}

template <class Attend>
Tensor TransformerEncoderLayer::apply(const Tensor& x, const Attend& attend) const {
  detail::require_floating(encoder_layer, x);
  if (const std::int64_t width = self_attn.embed_dim_; x.dim() != 3 || x.size(2) != width)
    throw ShapeError(
        message("{}: the input has shape {}; it must be (N, L, {})", encoder_layer, x.shape(), width));
  const auto feed_forward = [&](const Tensor& y) {
    const Tensor inner = linear1(y);
    return dropout2(linear2(dropout(is_gelu_ ? gelu(inner) : relu(inner))));
  };
  if (norm_first_) {
    const Tensor y = x + dropout1(attend(norm1(x)));
    return output(y + feed_forward(norm2(y)));
  }
  const Tensor y = norm1(x + dropout1(attend(x)));
  return output(norm2(y + feed_forward(y)));
}

Tensor TransformerEncoderLayer::operator()(const Tensor& x, const AttentionMasks& masks) const {
  return apply(x, [&](const Tensor& y) { return self_attn(y, y, y, masks); });
}

Tensor TransformerEncoderLayer::operator()(const Tensor& x, AttentionCache& cache) const {
  return apply(x, [&](const Tensor& y) { return self_attn(y, cache); });
}

}  // namespace retort
