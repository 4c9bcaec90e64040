// Embedding as a module.
#pragma once

#include <cstdint>

#include "retort/framework/nn/module.hpp"
#include "retort/framework/ops/indexing.hpp"

namespace [[RETORT_EXPORT]] retort {

/// weight[index]: one row of weight [count, dim] per int64 index; an index of [any shape] gives [that shape,
/// dim]. The weight is drawn from the standard normal distribution, except for row padding_idx, which is zero
/// and gets no gradient.
/// Throws: ValueError if a size is negative; IndexError if padding_idx is out of range.
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
