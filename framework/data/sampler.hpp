// Which rows an epoch has, and the balance between classes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "retort/framework/base/random.hpp"
#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Chooses the rows of each epoch of a DataLoader.
struct Sampler {
  std::int64_t size = 0;  ///< the number of rows in an epoch
  /// Returns `size` row numbers. The generator depends on the loader's seed and the epoch only, so that a
  /// resumed run sees the same rows.
  std::function<std::vector<std::int64_t>(Generator&)> order = {};
};

struct WeightedSamplerOptions {
  std::optional<std::int64_t> size = {};  ///< rows in an epoch; absent: as many as there are weights
  bool replacement = true;                ///< whether a row may be drawn more than once in an epoch
};

/// Draws row i with probability weights[i] / Σ weights, as PyTorch's WeightedRandomSampler does.
/// Shapes: weights (N), of a floating-point type.
/// Throws: ShapeError, TypeError; ValueError for a weight that is negative or not finite, for weights that
/// sum to 0, and without replacement for fewer positive weights than rows in an epoch.
[[nodiscard]] Sampler weighted_sampler(const Tensor& weights, const WeightedSamplerOptions& options = {});

/// Every row once, in batches of rows of similar lengths, which waste little on padding: the rows are
/// shuffled, those of every `pool` batches are sorted by length, and the batches are shuffled again. Give the
/// loader the same batch size; its last batch may be smaller.
/// Shapes: lengths int64 (N).
/// Throws: ShapeError, TypeError; ValueError for a batch size or pool below 1.
[[nodiscard]] Sampler length_sampler(const Tensor& lengths, std::int64_t batch_size, std::int64_t pool = 50);

/// How often each class 0 … classes-1 occurs, int64 (classes).
/// Throws: TypeError unless labels are int64; ValueError for a label out of range.
[[nodiscard]] Tensor class_counts(const Tensor& labels, std::int64_t classes);

/// Weights that balance classes: w_c = Σ counts / (K · counts_c), where K is the number of classes that
/// occur. They can be the `.weight` of a loss, and with `gather(weights, 0, labels)` the weights of a
/// sampler.
/// Edge cases: a class that does not occur has weight 0.
/// Throws: ValueError for a negative count, or when all are 0.
[[nodiscard]] Tensor class_weights(const Tensor& counts, DType dtype = DType::float32);

}  // namespace retort
