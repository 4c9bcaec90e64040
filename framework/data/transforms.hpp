// Transforms applied to batches during loading.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "retort/framework/base/random.hpp"
#include "retort/framework/data/dataset.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A function that a DataLoader calls for each batch. Random transforms may draw from the generator, which
/// depends only on the loader's seed, the epoch and the batch's number, so that a resumed run sees the same
/// batches.
///
/// The random transforms of this file, except random_shift, draw by row number: the change of a row depends
/// only on the loader's seed, the epoch and the row's number in its source, not on its batch. Without row
/// numbers (`Batch::rows`) they use the generator and the position in the batch instead. Images are [N, …,
/// rows, columns], where the middle dimensions change together, or square images in rows [N, side·side].
using BatchTransform = std::function<Batch(Batch, Generator&)>;

/// Shifts each image by whole pixels, uniform in -pixels … pixels in each direction, and fills with zeros.
/// Draws from the generator, in the order of the batch.
/// Throws: ValueError if `pixels` is negative; ShapeError, when called, if the inputs are not images.
[[nodiscard]] BatchTransform random_shift(std::int64_t pixels);

/// Pads each image with zeros on all four sides and crops it to its original size at a random position.
/// Throws: the errors of random_shift.
[[nodiscard]] BatchTransform random_crop(std::int64_t padding);

/// Flips each image horizontally with probability p.
/// Throws: ValueError if p is outside [0, 1]; ShapeError, when called, if the inputs are not images.
[[nodiscard]] BatchTransform random_horizontal_flip(double p = 0.5);

/// Sets a square of size × size pixels around a random pixel to zero, clipped at the image border.
/// Throws: ValueError if `size` is negative; ShapeError, when called, if the inputs are not images.
/// Source: DeVries and Taylor 2017, "Improved regularization of convolutional neural networks with cutout".
[[nodiscard]] BatchTransform cutout(std::int64_t size);

/// (x - mean) / std per channel; channels are dimension 1 of the inputs.
/// Shapes: one mean and one std, for inputs of any shape, or one of each per channel.
/// Throws: ValueError if the numbers of means and stds differ or a std is not positive; when called,
/// ShapeError if the number of channels differs, and TypeError if the inputs are int64.
[[nodiscard]] BatchTransform normalize(std::vector<double> mean, std::vector<double> std);
[[nodiscard]] BatchTransform normalize(double mean, double std);

namespace detail {
[[nodiscard]] BatchTransform compose_all(std::vector<BatchTransform> transforms);
}

/// Applies the transforms in order. Each has its own random draws, even if it appears twice.
template <std::convertible_to<BatchTransform>... Transforms>
[[nodiscard]] BatchTransform compose(Transforms... transforms) {
  std::vector<BatchTransform> all;
  (all.emplace_back(std::move(transforms)), ...);
  return detail::compose_all(std::move(all));
}

/// Mixes each row with another row of the batch: x = λ x_i + (1 - λ) x_j with λ from Beta(alpha, alpha). λ is
/// drawn by row number, and j is the row that follows i in a random circular order of the batch's row
/// numbers. Floating-point targets (class probabilities or values) are mixed in the same way. Other targets
/// are kept, and the batch gains the tensors "target_b", the targets of the rows j, and "lambda" [B] in the
/// inputs' type: the loss of a row is λ · loss(y, target) + (1 - λ) · loss(y, target_b).
/// Edge cases: alpha 0 changes nothing (λ = 1). A batch not made by a loader draws from the default
/// generator.
/// Throws: ValueError if alpha is negative or infinite; TypeError if the inputs are int64.
/// Source: Zhang, Cisse, Dauphin and Lopez-Paz 2018, "mixup: Beyond empirical risk minimization".
[[nodiscard]] Batch mixup(const Batch& batch, double alpha);

}  // namespace retort
