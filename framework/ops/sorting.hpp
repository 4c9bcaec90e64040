// Sorting.
#pragma once

#include <cstdint>

#include "retort/framework/core/factories.hpp"
#include "retort/framework/ops/reduction.hpp"

namespace [[RETORT_EXPORT]] retort {

/// The elements in order along `dim`, and the positions that they had. Stable: equal elements keep their
/// order, in descending order, too. NaN counts as the largest. The gradient goes to the positions.
/// Throws: IndexError for a dimension out of range.
[[nodiscard]] ValuesAndIndices sort(const Tensor& x, std::int64_t dim = -1, bool descending = false);
/// The positions alone, int64.
[[nodiscard]] Tensor argsort(const Tensor& x, std::int64_t dim = -1, bool descending = false);

/// The k largest (or smallest) elements along `dim` in order, the best first, and their positions. Of equal
/// elements the lower position comes first. NaN counts as the largest.
/// Throws: IndexError for a dimension out of range, ValueError unless 0 <= k <= the extent of `dim`.
[[nodiscard]] ValuesAndIndices topk(const Tensor& x, std::int64_t k, std::int64_t dim = -1,
                                    bool largest = true);

}  // namespace retort
