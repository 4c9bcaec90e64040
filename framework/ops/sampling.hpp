// Random sampling of positions.
#pragma once

#include <cstdint>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

class Generator;

/// Draws n positions per row with probabilities proportional to its elements, in the order of the draws.
/// Without `replacement`, positions are distinct. Uses `generator` or the default generator.
///
///     const rt::Tensor token = rt::multinomial(rt::softmax(logits, 1), 1);   // (N, C) → (N, 1)
///
/// Shapes: probabilities (C) or (N, C) → int64 (n) or (N, n).
/// Throws: TypeError if the input is int64; ShapeError unless it has one or two dimensions; ValueError if n
/// is negative, an element is negative or not finite, or a row has too few positive elements.
/// Source: without replacement by exponential waiting times (Efraimidis and Spirakis, 2006).
[[nodiscard]] Tensor multinomial(const Tensor& probabilities, std::int64_t n, bool replacement = false);
[[nodiscard]] Tensor multinomial(const Tensor& probabilities, std::int64_t n, bool replacement,
                                 Generator& generator);

}  // namespace retort
