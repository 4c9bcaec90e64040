// Changes made to batches while they are loaded.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "retort/framework/base/random.hpp"
#include "retort/framework/data/dataset.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A function that a DataLoader calls for each batch. Random changes may draw from the generator, which
/// depends only on the loader's seed, the epoch and the batch's number, so that a resumed run sees the same
/// batches.
///
/// The random transforms of this file draw by row number: what happens to a row depends only on the loader's
/// seed, the epoch and the row's number in its source, not on its batch. Without row numbers (`Batch::rows`)
/// they draw from the generator and count the rows of the batch instead. Images are [N, …, rows, columns],
/// the dimensions between changing together, or square images in rows [N, side·side].
using BatchTransform = std::function<Batch(Batch, Generator&)>;

/// Moves each image by whole pixels, uniform in -pixels … pixels in each direction, and fills with zeros.
/// Draws from the generator.
/// Throws: ValueError for a negative number of pixels; ShapeError, when called, for inputs that are not
/// images.
[[nodiscard]] BatchTransform random_shift(std::int64_t pixels);

/// Pads each image with zeros at all four sides and cuts a random part of its old size out of that.
/// Throws: the same as random_shift.
[[nodiscard]] BatchTransform random_crop(std::int64_t padding);

/// Mirrors each image left to right with probability p.
/// Throws: ValueError for p outside [0, 1]; ShapeError, when called, for inputs that are not images.
[[nodiscard]] BatchTransform random_horizontal_flip(double p = 0.5);

/// Sets a square of size × size pixels around a random pixel to zero; the part outside the image is cut off.
/// Throws: ValueError for a negative size; ShapeError, when called, for inputs that are not images.
/// Source: DeVries and Taylor 2017, "Improved regularization of convolutional neural networks with cutout".
[[nodiscard]] BatchTransform cutout(std::int64_t size);

/// (x - mean) / std for each channel, which is dimension 1 of the inputs.
/// Shapes: one mean and one std, for inputs of any shape, or as many as there are channels.
/// Throws: ValueError for unequal numbers of means and stds or a std that is not above 0; when called,
/// ShapeError for another number of channels, and TypeError for int64 inputs.
[[nodiscard]] BatchTransform normalize(std::vector<double> mean, std::vector<double> std);
[[nodiscard]] BatchTransform normalize(double mean, double std);

namespace detail {
[[nodiscard]] BatchTransform compose_all(std::vector<BatchTransform> transforms);
}

/// Applies the transforms one after the other. Each has draws of its own, equal ones included.
template <std::convertible_to<BatchTransform>... Transforms>
[[nodiscard]] BatchTransform compose(Transforms... transforms) {
  std::vector<BatchTransform> all;
  (all.emplace_back(std::move(transforms)), ...);
  return detail::compose_all(std::move(all));
}

/// Mixes each row with another one of the batch: x = λ x_i + (1 - λ) x_j with λ from Beta(alpha, alpha). λ is
/// drawn by row number, and j is the row that follows i in a random circular order of the batch's row
/// numbers. Floating-point targets (class probabilities, or values) are mixed in the same way. Other targets
/// are kept, and the batch gains the tensors "target_b", the targets of the rows j, and "lambda" [B] of the
/// inputs' type: the loss of a row is λ · loss(y, target) + (1 - λ) · loss(y, target_b).
/// Edge cases: alpha 0 changes nothing (λ = 1). A batch that no loader made draws from the default generator.
/// Throws: ValueError for a negative or infinite alpha, TypeError for int64 inputs.
/// Source: Zhang, Cisse, Dauphin and Lopez-Paz 2018, "mixup: Beyond empirical risk minimization".
[[nodiscard]] Batch mixup(const Batch& batch, double alpha);

}  // namespace retort
