// Attention and the transformer's encoder layer as modules.
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
  double dropout = 0;  ///< of the weights, in training
  bool bias = true;
  std::optional<std::int64_t> kdim = std::nullopt;  ///< width of the keys; embed_dim if it is absent
  std::optional<std::int64_t> vdim = std::nullopt;  ///< width of the values; embed_dim if it is absent
};

/// Which keys a query may attend to.
struct AttentionMasks {
  Tensor key_mask =
      {};            ///< int64 (N, S), 1 where a key may be attended to: PyTorch's key_padding_mask inverted
  Tensor mask = {};  ///< as for scaled_dot_product_attention; broadcasts to (N, heads, L, S)
  bool is_causal = false;  ///< query i sees key j only if j <= i
};

/// The keys and values of the positions that a causal self-attention has seen, (N, S, embed_dim) each;
/// undefined at the start. It belongs to one attention and one sequence, or batch of sequences of equal
/// length.
struct AttentionCache {
  Tensor keys = {}, values = {};
};

/// Attention of several heads between projections: (N, L, embed_dim) from query (N, L, embed_dim), key (N, S,
/// kdim) and value (N, S, vdim). The parameters have PyTorch's names and initial distributions; with kdim or
/// vdim other than embed_dim there are q_proj_weight, k_proj_weight and v_proj_weight in place of
/// in_proj_weight.
/// Edge cases: a query without any key gives out_proj.bias.
/// Throws: ValueError if the heads do not divide embed_dim, ShapeError for inputs or masks that do not fit.
class MultiheadAttention : public Module {
 public:
  MultiheadAttention(std::int64_t embed_dim, std::int64_t heads, MultiheadAttentionOptions options = {});
  Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                    const AttentionMasks& masks = {}) const;
  /// Causal self-attention of positions x (N, L, embed_dim) that follow those in the cache, which takes them
  /// in: the result for sequences given in parts equals, up to rounding, that for whole ones with is_causal.
  /// A part costs O(L·(S + L)) after S positions, so a single position costs O(S).
  /// Throws: ShapeError for inputs that do not fit the module or the cache; then the cache is unchanged.
  Tensor operator()(const Tensor& x, AttentionCache& cache) const;
  /// The weights with which the heads attend, softmax(q·kᵀ/√E) without dropout: (N, heads, L, S) from query
  /// (N, L, embed_dim) and key (N, S, kdim), to look at.
  /// Edge cases: 0 for a query without any key. Throws: ShapeError for inputs or masks that do not fit.
  [[nodiscard]] Tensor weights(const Tensor& query, const Tensor& key,
                               const AttentionMasks& masks = {}) const;

  Tensor in_proj_weight, q_proj_weight, k_proj_weight, v_proj_weight, in_proj_bias;
  Linear out_proj;  ///< of the joined heads
  RETORT_MEMBERS(in_proj_weight, q_proj_weight, k_proj_weight, v_proj_weight, in_proj_bias, out_proj)

 private:
  Tensors projected(const Tensor& query, const Tensor& key, const Tensor& value) const;
  std::int64_t embed_dim_, heads_, kdim_, vdim_;
  double dropout_;
};

struct TransformerEncoderLayerOptions {
  std::int64_t dim_feedforward = 2048;
  double dropout = 0.1;
  std::string activation = "relu";  ///< or "gelu", the exact one
  double layer_norm_eps = 1e-5;
  bool norm_first = false;  ///< normalise before attention and feedforward net instead of after them
};

/// Self-attention and a feedforward net, each with dropout, a residual connection and layer norm (Vaswani et
/// al., 2017).
/// Shapes: (N, L, d_model) → (N, L, d_model).
/// Throws: ValueError for another activation, and as MultiheadAttention.
class TransformerEncoderLayer : public Module {
 public:
  TransformerEncoderLayer(std::int64_t d_model, std::int64_t heads,
                          TransformerEncoderLayerOptions options = {});
  Tensor operator()(const Tensor& x, const AttentionMasks& masks = {}) const;
  /// The same for positions that follow those in the cache, causal, as in MultiheadAttention:
  ///
  ///     rt::AttentionCache cache;
  ///     rt::Tensor last = layer(prompt, cache);     // (N, L, d_model)
  ///     rt::Tensor next = layer(embedded, cache);   // (N, 1, d_model), without computing the prompt again
  Tensor operator()(const Tensor& x, AttentionCache& cache) const;

  /// The parts, named as in PyTorch's state dict.
  MultiheadAttention self_attn;
  Linear linear1;    ///< to dim_feedforward
  Dropout dropout;   ///< behind the activation
  Linear linear2;    ///< back to d_model
  LayerNorm norm1;   ///< of the attention's residual
  LayerNorm norm2;   ///< of the feed-forward residual
  Dropout dropout1;  ///< of the attention's result
  Dropout dropout2;  ///< of the feed-forward result
  RETORT_MEMBERS(self_attn, linear1, dropout, linear2, norm1, norm2, dropout1, dropout2)

 private:
  template <class Attend>
  Tensor apply(const Tensor& x, const Attend& attend) const;
  bool is_gelu_, norm_first_;
};

}  // namespace retort
