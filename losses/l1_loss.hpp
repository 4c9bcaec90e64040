// Losses of absolute errors: L1, smooth L1 and Huber.
#pragma once

#include <optional>

#include "retort/losses/reduction.hpp"

namespace retort {

struct L1LossOptions {
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;

  /// Throws: ValueError for batchmean.
  void check() const;
};

/// The absolute error |input - target| per element.
///
/// Shapes: input and target of one shape (nothing is broadcast); the result () or, with reduction none, the
/// same.
/// Edge cases: the gradient where both are equal is 0. The mean of an empty tensor is NaN.
/// Throws: ShapeError if the shapes differ, TypeError for int64, ValueError for batchmean.
/// Follows torch.nn.functional.l1_loss.
[[nodiscard]] Tensor l1_loss(const Tensor& input, const Tensor& target, L1LossOptions options = {});

/// l1_loss with its options fixed.
using L1Loss = LossOf<l1_loss, L1LossOptions, Tensor, Tensor>;

struct SmoothL1LossOptions {
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::optional<bool> reduce = std::nullopt;        ///< deprecated: see Reduction
  Reduction reduction = Reduction::mean;
  double beta = 1;  ///< the error from which the loss is linear; 0 gives l1_loss

  /// Throws: ValueError for an option out of range and for batchmean.
  void check() const;
};

/// With d = |input - target|: d²/(2·beta) where d < beta, otherwise d - beta/2.
///
/// Shapes: input and target of one shape (nothing is broadcast); the result () or, with reduction none, the
/// same.
/// Edge cases: the mean of an empty tensor is NaN.
/// Throws: ShapeError if the shapes differ, TypeError for int64, ValueError for batchmean or a negative beta.
/// Girshick, "Fast R-CNN" (2015); follows torch.nn.functional.smooth_l1_loss.
[[nodiscard]] Tensor smooth_l1_loss(const Tensor& input, const Tensor& target,
                                    SmoothL1LossOptions options = {});

/// smooth_l1_loss with its options fixed.
using SmoothL1Loss = LossOf<smooth_l1_loss, SmoothL1LossOptions, Tensor, Tensor>;

struct HuberLossOptions {
  Reduction reduction = Reduction::mean;
  double delta = 1;  ///< the error from which the loss is linear

  /// Throws: ValueError for an option out of range and for batchmean.
  void check() const;
};

/// With d = |input - target|: d²/2 where d <= delta, otherwise delta·(d - delta/2).
///
/// Shapes: input and target of one shape (nothing is broadcast); the result () or, with reduction none, the
/// same.
/// Edge cases: the mean of an empty tensor is NaN.
/// Throws: ShapeError if the shapes differ, TypeError for int64, ValueError for batchmean or unless delta >
/// 0. Huber, "Robust estimation of a location parameter" (1964); follows torch.nn.functional.huber_loss.
[[nodiscard]] Tensor huber_loss(const Tensor& input, const Tensor& target, HuberLossOptions options = {});

/// huber_loss with its options fixed.
using HuberLoss = LossOf<huber_loss, HuberLossOptions, Tensor, Tensor>;

}  // namespace retort
