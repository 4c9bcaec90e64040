// Mean squared error.
#pragma once

#include <optional>

#include "retort/losses/reduction.hpp"

namespace [[RETORT_EXPORT]] retort {

struct MSELossOptions {
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;            ///< none, sum or mean

  /// Throws: ValueError for batchmean.
  void check() const;
};

/// The squared error (input - target)² per element.
///
/// Shapes: input and target have the same shape (no broadcasting); the result is () or, with reduction none,
/// has that shape.
/// Edge cases: the mean of an empty tensor is NaN.
/// Throws: ShapeError if the shapes differ; TypeError if an argument is int64; ValueError if the reduction is
/// batchmean.
/// Source: torch.nn.functional.mse_loss.
[[nodiscard]] Tensor mse_loss(const Tensor& input, const Tensor& target, MSELossOptions options = {});

/// mse_loss with fixed options.
using MSELoss = LossOf<mse_loss, MSELossOptions, Tensor, Tensor>;

}  // namespace retort
