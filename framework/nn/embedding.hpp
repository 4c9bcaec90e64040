// Embedding as a module.
#pragma once

#include <cstdint>

#include "retort/framework/nn/module.hpp"
#include "retort/framework/ops/indexing.hpp"

namespace [[RETORT_EXPORT]] retort {

/// weight[index]: a vector of `dim` numbers for each int64 index; [any shape] gives [that shape, dim]. weight
/// [count, dim] starts standard normal, but the row padding_idx, which gets no gradient, starts as zeros.
/// ValueError for a negative size, IndexError for a padding_idx out of range.
class Embedding : public Module {
 public:
  Embedding(std::int64_t count, std::int64_t dim, EmbeddingOptions options = {});
  Tensor operator()(const Tensor& index) const;

  Tensor weight;
  RETORT_MEMBERS(weight)

 private:
  EmbeddingOptions options_;
};

}  // namespace retort
