// The mean squared error.
#pragma once

#include <optional>

#include "retort/losses/reduction.hpp"

namespace retort {

struct MSELossOptions {
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;

  /// Throws: ValueError for batchmean.
  void check() const;
};

/// The squared error (input - target)² per element.
///
/// Shapes: input and target of one shape (nothing is broadcast); the result () or, with reduction none, the
/// same.
/// Edge cases: the mean of an empty tensor is NaN.
/// Throws: ShapeError if the shapes differ, TypeError for int64, ValueError for batchmean.
/// Follows torch.nn.functional.mse_loss.
[[nodiscard]] Tensor mse_loss(const Tensor& input, const Tensor& target, MSELossOptions options = {});

/// mse_loss with its options fixed.
using MSELoss = LossOf<mse_loss, MSELossOptions, Tensor, Tensor>;

}  // namespace retort
