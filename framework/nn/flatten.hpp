// Flatten as a module.
#pragma once

#include <cstdint>

#include "retort/framework/nn/module.hpp"

namespace retort {

/// Joins the dimensions from start_dim to end_dim into one: images [N, C, H, W] become rows [N, C·H·W].
class Flatten : public Module {
 public:
  explicit Flatten(std::int64_t start_dim = 1, std::int64_t end_dim = -1)
      : start_dim_(start_dim), end_dim_(end_dim) {}
  Tensor operator()(const Tensor& x) const;

 private:
  std::int64_t start_dim_, end_dim_;
};

}  // namespace retort
