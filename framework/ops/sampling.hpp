// Draws of positions.
#pragma once

#include <cstdint>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

class Generator;

/// n positions drawn from each row with probabilities proportional to its elements, in the order of the
/// draws; without replacement, so that no position comes twice, unless `replacement` is true. From
/// `generator` or the default one.
/// Shapes: probabilities (C) or (N, C) → int64 (n) or (N, n).
/// Throws: TypeError for int64, ShapeError for another number of dimensions, ValueError for a negative n, for
/// an element that is negative or not finite, and for a row with too few positive elements.
/// Source: without replacement by the order of exponential waiting times (Efraimidis and Spirakis, 2006).
[[nodiscard]] Tensor multinomial(const Tensor& probabilities, std::int64_t n, bool replacement = false);
[[nodiscard]] Tensor multinomial(const Tensor& probabilities, std::int64_t n, bool replacement,
                                 Generator& generator);

}  // namespace retort
