// Losses of absolute errors: L1, smooth L1 and Huber.
#pragma once

#include <optional>

#include "retort/losses/reduction.hpp"

namespace [[RETORT_EXPORT]] retort {

struct L1LossOptions {
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;            ///< none, sum or mean

  /// Throws: ValueError for batchmean.
  void check() const;
};

/// The absolute error |input - target| per element.
///
/// Shapes: input and target have the same shape (no broadcasting); the result is () or, with reduction none,
/// has that shape.
/// Edge cases: the gradient is 0 where input and target are equal. The mean of an empty tensor is NaN.
/// Throws: ShapeError if the shapes differ; TypeError if an argument is int64; ValueError if the reduction is
/// batchmean.
/// Source: torch.nn.functional.l1_loss.
[[nodiscard]] Tensor l1_loss(const Tensor& input, const Tensor& target, L1LossOptions options = {});

/// l1_loss with fixed options.
using L1Loss = LossOf<l1_loss, L1LossOptions, Tensor, Tensor>;

struct SmoothL1LossOptions {
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;            ///< none, sum or mean
  double beta = 1;                                  ///< error from which the loss is linear; 0 gives l1_loss

  /// Throws: ValueError if an option is out of range or the reduction is batchmean.
  void check() const;
};

/// d²/(2·beta) if d < beta, otherwise d - beta/2, with d = |input - target|.
///
/// Shapes: input and target have the same shape (no broadcasting); the result is () or, with reduction none,
/// has that shape.
/// Edge cases: the mean of an empty tensor is NaN.
/// Throws: ShapeError if the shapes differ; TypeError if an argument is int64; ValueError if beta is negative
/// or the reduction is batchmean.
/// Source: Girshick, "Fast R-CNN" (2015); torch.nn.functional.smooth_l1_loss.
[[nodiscard]] Tensor smooth_l1_loss(const Tensor& input, const Tensor& target,
                                    SmoothL1LossOptions options = {});

/// smooth_l1_loss with fixed options.
using SmoothL1Loss = LossOf<smooth_l1_loss, SmoothL1LossOptions, Tensor, Tensor>;

struct HuberLossOptions {
  Reduction reduction = Reduction::mean;  ///< none, sum or mean
  double delta = 1;                       ///< error from which the loss is linear

  /// Throws: ValueError if an option is out of range or the reduction is batchmean.
  void check() const;
};

/// d²/2 if d <= delta, otherwise delta·(d - delta/2), with d = |input - target|.
///
/// Shapes: input and target have the same shape (no broadcasting); the result is () or, with reduction none,
/// has that shape.
/// Edge cases: the mean of an empty tensor is NaN.
/// Throws: ShapeError if the shapes differ; TypeError if an argument is int64; ValueError if delta <= 0 or
/// the reduction is batchmean.
/// Source: Huber, "Robust estimation of a location parameter" (1964); torch.nn.functional.huber_loss.
[[nodiscard]] Tensor huber_loss(const Tensor& input, const Tensor& target, HuberLossOptions options = {});

/// huber_loss with fixed options.
using HuberLoss = LossOf<huber_loss, HuberLossOptions, Tensor, Tensor>;

}  // namespace retort
