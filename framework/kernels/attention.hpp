// Attention tile by tile: no array of queries times keys is ever held.
// Explicitly instantiated for float and double.
#pragma once

#include <cstdint>
#include <span>

#include "retort/framework/base/dtype.hpp"
#include "retort/framework/base/random.hpp"

namespace retort::kernels {

/// Sizes of an attention. The rows of a head lie `heads` widths apart: queries [batch, L, heads, E], keys
/// [batch, S, heads, E], values [batch, S, heads, V], results [batch, L, heads, V].
struct AttentionShape {
  Index batch = 1, heads = 1, queries = 0, keys = 0, width = 0, value_width = 0;
  double scale = 1;
  bool is_causal = false;  ///< a query sees the keys up to its own position only
  // The mask of head h: element [query, key] at mask[mask_at[h] + query · mask_query_step + key ·
  // mask_key_step].
  std::span<const Index> mask_at = {};
  Index mask_query_step = 0, mask_key_step = 0;
  double dropout_p = 0;
  Generator dropout =
      Generator();  ///< draw [h, query, key] of an array [batch · heads, L, S] decides about a weight

  Index head_count() const { return batch * heads; }
};

/// The mask of an attention: integers, which forbid a key where they are 0, or numbers, which are added to
/// the scores. At most one of them is not null.
template <class T>
struct AttentionMask {
  const std::int64_t* allowed = nullptr;
  const T* added = nullptr;
};

/// y = dropout(softmax(scale · q · kᵀ + mask)) · v, and for each query [batch · heads, L] the logarithm of
/// the sum of its exponentials, +infinity for a query without a key, whose y is 0.
template <class T>
void attention(const AttentionShape& of, const T* q, const T* k, const T* v, const AttentionMask<T>& mask,
               T* y, T* log_sums);

/// Inputs and outputs of the backward: a gradient that is null is not computed. `partial` has room for
/// attention_partials() copies of dq, or is null where that is 0. dmask is laid out as the mask is.
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
