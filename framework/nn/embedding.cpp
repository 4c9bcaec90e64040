#include "retort/framework/nn/embedding.hpp"

#include <algorithm>

#include "retort/framework/core/require.hpp"
#include "retort/framework/nn/init.hpp"

namespace retort {

Embedding::Embedding(std::int64_t count, std::int64_t dim, EmbeddingOptions options) : options_(options) {
  if (count < 0 || dim < 0)
    throw ValueError(message("Embedding: {} vectors of {} numbers; neither may be negative", count, dim));
  detail::require_shape("Embedding", {count, dim});
  const std::int64_t padding = options.padding_idx.value_or(0);
  if (options.padding_idx && (padding < -count || padding >= count))
    throw IndexError(message("Embedding: padding_idx {} is out of range for {} vectors", padding, count));
  weight = init::normal_(empty({count, dim}));
  if (options.padding_idx) {
    const std::int64_t row = padding < 0 ? padding + count : padding;
    std::ranges::fill(weight.mutable_data<float>().subspan(static_cast<std::size_t>(row * dim),
                                                           static_cast<std::size_t>(dim)),
                      0.0F);
  }
  weight.set_requires_grad();
}

Tensor Embedding::operator()(const Tensor& index) const { return output(embedding(index, weight, options_)); }

}  // namespace retort
