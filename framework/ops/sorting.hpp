// Sorting.
#pragma once

#include <cstdint>

#include "retort/framework/core/factories.hpp"
#include "retort/framework/ops/reduction.hpp"

namespace [[RETORT_EXPORT]] retort {

/// The elements sorted along `dim`, and their original positions. The sort is stable, also in descending
/// order. NaN is the largest. The gradient goes to the original positions.
/// Throws: IndexError if `dim` is out of range.
[[nodiscard]] ValuesAndIndices sort(const Tensor& x, std::int64_t dim = -1, bool descending = false);
/// The positions alone, int64, as sort() returns them.
[[nodiscard]] Tensor argsort(const Tensor& x, std::int64_t dim = -1, bool descending = false);

/// The k largest (or smallest) elements along `dim`, in sorted order, and their positions. Equal elements are
/// ordered by position. NaN is the largest.
/// Throws: IndexError if `dim` is out of range; ValueError unless 0 <= k <= the extent of `dim`.
[[nodiscard]] ValuesAndIndices topk(const Tensor& x, std::int64_t k, std::int64_t dim = -1,
                                    bool largest = true);

}  // namespace retort
