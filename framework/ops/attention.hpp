// Attention.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

struct ScaledDotProductAttentionOptions {
  Tensor mask = {};  ///< int64 (a key counts where it is not 0) or float (added to the scores); broadcasts
  bool is_causal = false;                      ///< query i sees key j only if j <= i, also for L other than S
  double dropout_p = 0;                        ///< probability with which a weight is dropped
  std::optional<double> scale = std::nullopt;  ///< of the scores; 1/√E if it is absent
};

/// dropout(softmax(scale · q · kᵀ + mask)) · v, as one operation that never holds an array of L × S elements.
/// Shapes: q (…, L, E), k (…, S, E), v (…, S, V) → (…, L, V); the leading dimensions broadcast, and the mask
/// broadcasts to (…, L, S). A float mask that requires a gradient gets it in its own shape.
/// Edge cases: a mask value of -inf forbids the key; a mask and is_causal hold together; a query that may
/// attend to no key gives 0 and zero gradients. Dropped weights are drawn from the default generator, as by
/// dropout().
/// Throws: TypeError for int64 q, k or v, ShapeError for shapes that do not fit, ValueError for dropout_p
/// outside [0, 1]. (Vaswani et al., "Attention is all you need", 2017; Dao et al., "FlashAttention", 2022)
[[nodiscard]] Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                                  ScaledDotProductAttentionOptions options = {});

namespace detail {
/// The same for heads that lie next to each other in a row: q (N, L, heads · E), k (N, S, heads · E) and
/// v (N, S, heads · V) give (N, L, heads · V). The mask broadcasts to (N, heads, L, S).
[[nodiscard]] Tensor attention_of_heads(const char* operation, const Tensor& q, const Tensor& k,
                                        const Tensor& v, std::int64_t heads,
                                        const ScaledDotProductAttentionOptions& options);
}  // namespace detail

}  // namespace retort
