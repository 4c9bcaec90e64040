// The negative log-likelihood loss.
#pragma once

#include <cstdint>
#include <optional>

#include "retort/framework/core/tensor.hpp"
#include "retort/losses/reduction.hpp"

namespace retort {

struct NLLLossOptions {
  Tensor weight = {};                               ///< of each class [C]; undefined for 1
  std::optional<bool> size_average = std::nullopt;  ///< deprecated: see Reduction
  std::int64_t ignore_index = -100;                 ///< targets of this value count for nothing
  std::optional<bool> reduce = std::nullopt;        ///< deprecated
  Reduction reduction = Reduction::mean;
};

/// -w[y]·x[y] for log-probabilities x [N, C, d…] or [C] and classes y, int64 [N, d…] or a scalar. mean divides the sum
/// by the sum of the weights of the targets that count; of none it is NaN.
/// ShapeError for shapes that do not fit, TypeError for a target that is not int64, IndexError for a class out of
/// range (naming position, value and number of classes), ValueError for batchmean.
/// Follows torch.nn.functional.nll_loss.
Tensor nll_loss(const Tensor& input, const Tensor& target, NLLLossOptions options = {});

/// nll_loss with its options fixed.
class NLLLoss {
 public:
  explicit NLLLoss(NLLLossOptions options = {}) : options_(std::move(options)) {}
  explicit NLLLoss(detail::Defaults) : NLLLoss() {}
  Tensor operator()(const Tensor& input, const Tensor& target) const {
    return nll_loss(input, target, options_);
  }

 private:
  NLLLossOptions options_;
};

namespace detail {
/// nll_loss in the name of `operation`, for its errors.
Tensor nll_loss_as(const char* operation, const Tensor& input, const Tensor& target,
                   const NLLLossOptions& options);
/// The checks that nll_loss and cross_entropy share, in the name of `operation`.
void check_class_shapes(const char* operation, const Tensor& input, const Tensor& target,
                        const Tensor& weight);
/// Targets as both count them, after the checks.
struct ClassTargets {
  Tensor index;    ///< [N, 1, d…] (or [1]), ignored ones replaced by 0
  Tensor weight;   ///< [N, 1, d…] weight of each target, 0 where ignored; of the input's type
  Tensor counted;  ///< [N, 1, d…] int64, 0 where ignored
};
ClassTargets class_targets(const char* operation, const Tensor& input, const Tensor& target,
                           const Tensor& weight, std::int64_t ignore_index);
/// The dimension of the classes: 1, or 0 for an input of one dimension.
inline std::int64_t class_dim(const Tensor& input) { return input.dim() == 1 ? 0 : 1; }
}  // namespace detail

}  // namespace retort
