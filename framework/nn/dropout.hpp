// Dropout as a module.
#pragma once

#include "retort/framework/nn/module.hpp"

namespace retort {

/// In training, each element is 0 with probability p and divided by 1 - p otherwise; the input itself in
/// evaluation. ValueError for p outside [0, 1].
class Dropout : public Module {
 public:
  explicit Dropout(double p = 0.5);
  Tensor operator()(const Tensor& x) const;

 private:
  double p_;
};

}  // namespace retort
