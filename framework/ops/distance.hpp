// Norms, and how far or in which direction vectors lie apart.
#pragma once

#include <cstdint>

#include "retort/framework/core/factories.hpp"
#include "retort/framework/ops/dims.hpp"

namespace [[RETORT_EXPORT]] retort {

/// (Σ |x|^p)^(1/p) over `dims`, or over everything; p = inf and -inf the largest and the smallest |x|, p = 0
/// the number of elements other than 0. No intermediate value overflows or underflows.
/// Edge cases: an empty sum is 0. The gradient is 0 at a zero vector for every p, at zero elements for p < 2
/// and everywhere for p = 0. p = ±inf shares ties evenly.
/// Throws: TypeError for int64, IndexError for a dimension out of range, ValueError for one named twice, for
/// a NaN p, and for nothing to reduce with p < 0 or infinite.
[[nodiscard]] Tensor norm(const Tensor& x, double p = 2, Dims dims = {}, bool keepdim = false);

/// a·b / (max(‖a‖, eps) · max(‖b‖, eps)) along `dim` of the shape that a and b broadcast to.
/// Throws: TypeError for int64, ShapeError if the shapes do not broadcast, IndexError for a dimension out of
/// range.
[[nodiscard]] Tensor cosine_similarity(const Tensor& a, const Tensor& b, std::int64_t dim = 1,
                                       double eps = 1e-8);

/// norm(a_i - b_j, p) of each pair of rows. For p = 2 the differences are never stored.
/// Shapes: a (..., P, M), b (..., R, M) → (..., P, R); leading dimensions broadcast.
/// Edge cases: the gradient is 0 where rows are equal.
/// Throws: TypeError for int64, ShapeError for fewer than two dimensions, another M or dimensions that do not
/// broadcast, ValueError for a p that is negative or NaN.
[[nodiscard]] Tensor cdist(const Tensor& a, const Tensor& b, double p = 2);

}  // namespace retort
