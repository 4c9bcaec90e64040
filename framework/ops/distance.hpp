// Norms, distances and cosine similarity.
#pragma once

#include <cstdint>

#include "retort/framework/core/factories.hpp"
#include "retort/framework/ops/dims.hpp"

namespace [[RETORT_EXPORT]] retort {

/// (Σ |x|^p)^(1/p) over `dims`, or over all elements. p = inf and -inf give the largest and the smallest |x|,
/// p = 0 the number of nonzero elements. No intermediate value overflows or underflows.
/// Edge cases: an empty sum is 0. The gradient is 0 at a zero vector for every p, at zero elements for p < 2,
/// and everywhere for p = 0. For p = ±inf, ties share the gradient evenly.
/// Throws: TypeError if x is int64; IndexError if a dimension is out of range; ValueError if one appears
/// twice, p is NaN, or there is no element to reduce and p is negative or infinite.
[[nodiscard]] Tensor norm(const Tensor& x, double p = 2, Dims dims = {}, bool keepdim = false);

/// a·b / (max(‖a‖, eps) · max(‖b‖, eps)) along `dim` of the broadcast shape of a and b.
/// Throws: TypeError if an input is int64; ShapeError if the shapes do not broadcast; IndexError if `dim` is
/// out of range; ValueError if eps is negative.
[[nodiscard]] Tensor cosine_similarity(const Tensor& a, const Tensor& b, std::int64_t dim = 1,
                                       double eps = 1e-8);

/// norm(a_i - b_j, p) of each pair of rows. For p = 2 the differences are not stored.
/// Shapes: a (..., P, M), b (..., R, M) → (..., P, R); leading dimensions broadcast.
/// Edge cases: the gradient is 0 where rows are equal.
/// Throws: TypeError if an input is int64; ShapeError if an input has fewer than two dimensions, M differs or
/// leading dimensions do not broadcast; ValueError if p is negative or NaN.
[[nodiscard]] Tensor cdist(const Tensor& a, const Tensor& b, double p = 2);

}  // namespace retort
