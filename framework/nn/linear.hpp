// Linear layer.
#pragma once

#include <cstdint>

#include "retort/framework/nn/module.hpp"

namespace [[RETORT_EXPORT]] retort {

struct LinearOptions {
  bool bias = true;
};

/// y [..., out] = x [..., in] · weightᵀ + bias, with weight [out, in] and bias [out], which is undefined
/// without one. Both start uniform in ±1/sqrt(in), as in PyTorch. ValueError for a negative size.
class Linear : public Module {
 public:
  Linear(std::int64_t in, std::int64_t out, LinearOptions options = {});
  Tensor operator()(const Tensor& x) const;

  Tensor weight, bias;
  RETORT_MEMBERS(weight, bias)
};

}  // namespace retort
