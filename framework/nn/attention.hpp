// Attention and the transformer encoder layer as modules.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "retort/framework/nn/activation.hpp"
#include "retort/framework/nn/linear.hpp"
#include "retort/framework/nn/module.hpp"
#include "retort/framework/nn/norm.hpp"

namespace [[RETORT_EXPORT]] retort {

struct MultiheadAttentionOptions {
  double dropout = 0;  ///< dropout probability of the weights, in training
  bool bias = true;
  std::optional<std::int64_t> kdim = std::nullopt;  ///< width of the keys; embed_dim if absent
  std::optional<std::int64_t> vdim = std::nullopt;  ///< width of the values; embed_dim if absent
};

/// The keys that each query may attend to.
struct AttentionMasks {
  Tensor key_mask = {};  ///< int64 (N, S), 1 where a key may be attended to (0 in PyTorch's key_padding_mask)
  Tensor mask = {};      ///< as for scaled_dot_product_attention; broadcasts to (N, heads, L, S)
  bool is_causal = false;  ///< query i attends to key j only if j <= i
};

/// The keys and values of the positions seen so far by a causal self-attention, (N, S, embed_dim) each;
/// undefined at the start. A cache belongs to one attention module and one batch of sequences of equal
/// length.
struct AttentionCache {
  Tensor keys = {}, values = {};
};

/// Multi-head attention with input and output projections: (N, L, embed_dim) from query (N, L, embed_dim),
/// key (N, S, kdim) and value (N, S, vdim). The parameters have PyTorch's names and initial distributions. If
/// kdim or vdim differs from embed_dim, q_proj_weight, k_proj_weight and v_proj_weight replace
/// in_proj_weight.
/// Edge cases: a query without keys gives out_proj.bias.
/// Throws: ValueError if the number of heads does not divide embed_dim, an option is out of range, or an
/// int64 mask is not 0 or 1; ShapeError if inputs or masks do not fit.
class MultiheadAttention : public Module {
 public:
  MultiheadAttention(std::int64_t embed_dim, std::int64_t heads, MultiheadAttentionOptions options = {});
  Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                    const AttentionMasks& masks = {}) const;
  /// Causal self-attention of positions x (N, L, embed_dim) that follow those in the cache, to which they are
  /// added. Processing sequences in parts gives, up to rounding, the result of whole sequences with
  /// is_causal. A part costs O(L·(S + L)) after S positions, so a single position costs O(S).
  /// Throws: ShapeError if inputs do not fit the module or the cache, which is then unchanged.
  Tensor operator()(const Tensor& x, AttentionCache& cache) const;
  /// The attention weights of the heads, softmax(q·kᵀ/√E) without dropout, for inspection: (N, heads, L, S)
  /// from query (N, L, embed_dim) and key (N, S, kdim).
  /// Edge cases: a query that may not attend to any key has weights 0.
  /// Throws: ShapeError if inputs or masks do not fit.
  [[nodiscard]] Tensor weights(const Tensor& query, const Tensor& key,
                               const AttentionMasks& masks = {}) const;

  Tensor in_proj_weight, q_proj_weight, k_proj_weight, v_proj_weight, in_proj_bias;
  Linear out_proj;  ///< output projection of the concatenated heads
  RETORT_MEMBERS(in_proj_weight, q_proj_weight, k_proj_weight, v_proj_weight, in_proj_bias, out_proj)

 private:
  Tensors projected(const Tensor& query, const Tensor& key, const Tensor& value) const;
  std::int64_t embed_dim_, heads_, kdim_, vdim_;
  double dropout_;
  const char* name_ = "MultiheadAttention";  // in errors
  friend class TransformerEncoderLayer;
};

struct TransformerEncoderLayerOptions {
  std::int64_t dim_feedforward = 2048;
  double dropout = 0.1;
  std::string activation = "relu";  ///< or "gelu" (exact)
  double layer_norm_eps = 1e-5;
  bool norm_first = false;  ///< normalise before attention and feedforward network instead of after
};

/// Self-attention and a feedforward network, each with dropout, a residual connection and layer norm (Vaswani
/// et al., 2017).
/// Shapes: (N, L, d_model) → (N, L, d_model).
/// Throws: ValueError if heads does not divide d_model or an option is out of range; ShapeError for other
/// shapes.
class TransformerEncoderLayer : public Module {
 public:
  TransformerEncoderLayer(std::int64_t d_model, std::int64_t heads,
                          TransformerEncoderLayerOptions options = {});
  Tensor operator()(const Tensor& x, const AttentionMasks& masks = {}) const;
  /// As above, for positions that follow those in the cache, with causal attention as in MultiheadAttention:
  ///
  ///     rt::AttentionCache cache;
  ///     rt::Tensor last = layer(prompt, cache);     // (N, L, d_model)
  ///     rt::Tensor next = layer(embedded, cache);   // (N, 1, d_model), without computing the prompt again
  Tensor operator()(const Tensor& x, AttentionCache& cache) const;

  /// The submodules, named as in PyTorch's state dict.
  MultiheadAttention self_attn;
  Linear linear1;    ///< to dim_feedforward
  Dropout dropout;   ///< after the activation
  Linear linear2;    ///< back to d_model
  LayerNorm norm1;   ///< of the attention residual
  LayerNorm norm2;   ///< of the feedforward residual
  Dropout dropout1;  ///< of the attention output
  Dropout dropout2;  ///< of the feedforward output
  RETORT_MEMBERS(self_attn, linear1, dropout, linear2, norm1, norm2, dropout1, dropout2)

 private:
  template <class Attend>
  Tensor apply(const Tensor& x, const Attend& attend) const;
  bool is_gelu_, norm_first_;
};

}  // namespace retort
