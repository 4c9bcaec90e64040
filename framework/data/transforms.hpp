// Changes made to batches while they are loaded.
#pragma once

#include <cstdint>
#include <functional>

#include "retort/framework/base/random.hpp"
#include "retort/framework/data/dataset.hpp"

namespace retort {

/// What a DataLoader calls for each batch. Random changes draw from the generator that is handed in: it
/// depends on the loader's seed, the epoch and the batch's number alone, so that a run that is resumed sees
/// the same batches.
using BatchTransform = std::function<Batch(Batch, Generator&)>;

/// Moves each image by whole pixels, uniform in -pixels … pixels in each direction, and fills with zeros.
/// Inputs are [N, …, rows, columns], what stands between moving together, or square images in rows [N,
/// side·side]: ShapeError for others. ValueError for a negative number of pixels.
BatchTransform random_shift(std::int64_t pixels);

}  // namespace retort
