// Tiled attention: never stores an array of queries times keys. Explicitly instantiated for float and double.
#pragma once

#include <cstdint>
#include <span>

#include "retort/framework/base/dtype.hpp"
#include "retort/framework/base/random.hpp"

namespace retort::kernels {

/// Sizes of an attention. The heads are interleaved: queries [batch, L, heads, E], keys [batch, S, heads, E],
/// values [batch, S, heads, V], results [batch, L, heads, V].
struct AttentionShape {
  Index batch = 1, heads = 1, queries = 0, keys = 0, width = 0, value_width = 0;
  /// The distance between rows of queries, keys, values and their gradients if these share one array; else 0.
  Index shared_row = 0;
  double scale = 1;
  bool is_causal = false;  ///< a query attends only to keys up to its own position
  // The mask of head h: element [query, key] at mask[mask_at[h] + query · mask_query_step + key ·
  // mask_key_step].
  std::span<const Index> mask_at = {};
  Index mask_query_step = 0, mask_key_step = 0;
  double dropout_p = 0;
  Generator dropout =
      /// Draw [h, query, key] of an array [batch · heads, L, S] decides whether a weight is dropped.
      Generator();

  Index head_count() const { return batch * heads; }
  Index q_row() const { return shared_row > 0 ? shared_row : heads * width; }  ///< also of keys
  Index v_row() const { return shared_row > 0 ? shared_row : heads * value_width; }
  Index y_row() const { return heads * value_width; }
};

/// The mask of an attention: integers, where 0 excludes a key, or numbers added to the scores. At most one is
/// not null.
template <class T>
struct AttentionMask {
  const std::int64_t* allowed = nullptr;
  const T* added = nullptr;
};

/// y = dropout(softmax(scale · q · kᵀ + mask)) · v, and for each query [batch · heads, L] the logarithm of
/// the sum of its exponentials. For a query without keys these are 0 and +infinity.
template <class T>
void attention(const AttentionShape& of, const T* q, const T* k, const T* v, const AttentionMask<T>& mask,
               T* y, T* log_sums);

/// Inputs and outputs of the backward pass; null gradients are not computed. `partial` has room for
/// attention_partials() copies of dq, and may be null if there are none. dmask has the layout of the mask.
template <class T>
struct AttentionGradients {
  const T *q, *k, *v, *y, *log_sums, *dy;
  T *dq, *dk, *dv, *dmask;
  T* partial;
};
Index attention_partials(const AttentionShape& of);
template <class T>
void attention_backward(const AttentionShape& of, const AttentionGradients<T>& arrays,
                        const AttentionMask<T>& mask);

}  // namespace retort::kernels
