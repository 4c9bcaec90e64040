// The mean squared error.
#pragma once

#include <optional>

#include "retort/framework/core/tensor.hpp"
#include "retort/losses/reduction.hpp"

namespace retort {

struct MSELossOptions {
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated
  Reduction reduction = Reduction::mean;
};

/// (input - target)², of one shape; mean divides by the number of elements, of none it is NaN. ShapeError when the
/// shapes differ (nothing is broadcast), TypeError for int64, ValueError for batchmean.
Tensor mse_loss(const Tensor& input, const Tensor& target, MSELossOptions options = {});

/// mse_loss with its options fixed.
class MSELoss {
 public:
  explicit MSELoss(MSELossOptions options = {}) : options_(options) {}
  explicit MSELoss(detail::Defaults) : MSELoss() {}
  Tensor operator()(const Tensor& input, const Tensor& target) const {
    return mse_loss(input, target, options_);
  }

 private:
  MSELossOptions options_;
};

}  // namespace retort
