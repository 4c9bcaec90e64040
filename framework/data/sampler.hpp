// Selection of the rows of an epoch, and class balancing.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "retort/framework/base/random.hpp"
#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Selects the rows of each epoch of a DataLoader.
struct Sampler {
  std::int64_t size = 0;  ///< number of rows per epoch
  /// Returns `size` row numbers. The generator depends only on the loader's seed and the epoch, so that a
  /// resumed run sees the same rows.
  std::function<std::vector<std::int64_t>(Generator&)> order = {};
  std::optional<std::int64_t> rows = {};        ///< required number of rows of the source; any if absent
  std::optional<std::int64_t> batch_size = {};  ///< required batch size of the loader; any if absent
};

struct WeightedSamplerOptions {
  std::optional<std::int64_t> size = {};  ///< rows per epoch; the number of weights if absent
  bool replacement = true;                ///< allow a row to be drawn more than once per epoch
};

/// Draws row i with probability weights[i] / Σ weights, as PyTorch's WeightedRandomSampler.
/// Shapes: weights (N), of a floating-point type; further rows of the source are never drawn.
/// Throws: ShapeError; TypeError; ValueError if a weight is negative or not finite, the weights sum to 0 or
/// infinity, or, without replacement, there are fewer positive weights than rows per epoch.
[[nodiscard]] Sampler weighted_sampler(const Tensor& weights, const WeightedSamplerOptions& options = {});

/// Draws every row once, in batches of similar lengths to reduce padding: the rows are shuffled, those of
/// every `pool` batches are sorted by length, and the batches are shuffled again. The last batch may be
/// smaller. A loader with a different batch size or number of rows refuses the sampler.
///
///     rt::DataLoader loader(data, {.batch_size = 32, .sampler = rt::length_sampler(data.lengths(), 32)});
///
/// Shapes: lengths int64 (N).
/// Throws: ShapeError; TypeError; ValueError if the batch size or pool is less than 1 or a length negative.
[[nodiscard]] Sampler length_sampler(const Tensor& lengths, std::int64_t batch_size, std::int64_t pool = 50);

/// The number of occurrences of each class 0 … classes-1, int64 (classes).
/// Throws: TypeError if labels are not int64; ValueError if a label is out of range.
[[nodiscard]] Tensor class_counts(const Tensor& labels, std::int64_t classes);

/// Weights that balance classes: w_c = Σ counts / (K · counts_c), where K is the number of classes that
/// occur. Use them as the `.weight` of a loss, or as `gather(weights, 0, labels)` for a sampler.
/// Edge cases: a class that does not occur has weight 0.
/// Throws: ValueError if a count is negative or all are 0; TypeError if `dtype` is int64.
[[nodiscard]] Tensor class_weights(const Tensor& counts, DType dtype = DType::float32);

}  // namespace retort
