// Linear layer.
#pragma once

#include <cstdint>

#include "retort/framework/nn/module.hpp"

namespace [[RETORT_EXPORT]] retort {

struct LinearOptions {
  bool bias = true;
};

/// y [..., out] = x [..., in] · weightᵀ + bias, with weight [out, in] and optional bias [out]. Both are
/// drawn uniformly within ±1/sqrt(in), as in PyTorch.
/// Throws: ValueError if a size is negative.
struct Linear : Module {
  Linear(std::int64_t in, std::int64_t out, LinearOptions options = {});
  Tensor operator()(const Tensor& x) const;

  Tensor weight, bias;
  RETORT_MEMBERS(weight, bias)
};

}  // namespace retort
