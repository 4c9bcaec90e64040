// Attention.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

struct ScaledDotProductAttentionOptions {
  Tensor mask = {};  ///< int64 (1: attend to the key, 0: not) or float (added to the scores); broadcasts
  bool is_causal = false;  ///< query i attends to key j only if j <= i, even if L differs from S
  double dropout_p = 0;    ///< probability of dropping a weight
  std::optional<double> scale = std::nullopt;  ///< scale of the scores; 1/√E if absent
};

/// dropout(softmax(scale · q · kᵀ + mask)) · v as one operation, without storing L × S elements.
/// Shapes: q (…, L, E), k (…, S, E), v (…, S, V) → (…, L, V). The leading dimensions broadcast, and the mask
/// broadcasts to (…, L, S). The gradient of a float mask has the mask's own shape.
/// Edge cases: a mask value of -inf excludes the key. A mask and is_causal can be combined. A query that may
/// not attend to any key gives 0 and zero gradients. A NaN in the row of v of an excluded key may reach
/// results, as 0 · NaN: fill padding with zeros. Dropped weights are drawn from the default generator, as in
/// dropout().
/// Throws: TypeError if q, k or v is int64; ShapeError if shapes do not fit; ValueError if dropout_p is
/// outside [0, 1], the scale is not finite, or an int64 mask is not 0 or 1.
/// Sources: Vaswani et al., "Attention is all you need", 2017; Dao et al., "FlashAttention", 2022.
[[nodiscard]] Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                                  ScaledDotProductAttentionOptions options = {});

namespace detail {
/// As scaled_dot_product_attention, with the heads next to each other in each row: q (N, L, heads · E), k (N,
/// S, heads · E) and v (N, S, heads · V) give (N, L, heads · V). The mask broadcasts to (N, heads, L, S).
[[nodiscard]] Tensor attention_of_heads(const char* operation, const Tensor& q, const Tensor& k,
                                        const Tensor& v, std::int64_t heads,
                                        const ScaledDotProductAttentionOptions& options);
}  // namespace detail

}  // namespace retort
