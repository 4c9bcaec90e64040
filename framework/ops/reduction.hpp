// Reductions over some dimensions or all. `keepdim` keeps the reduced dimensions with extent 1. All throw
// IndexError if a dimension is out of range and ValueError if one appears twice.
#pragma once

#include "retort/framework/core/factories.hpp"
#include "retort/framework/ops/dims.hpp"

namespace [[RETORT_EXPORT]] retort {

/// The sum of elements; 0 for an empty tensor. float32 sums are accurate to about 4 eps of the sum of |x|.
[[nodiscard]] Tensor sum(const Tensor& x, Dims dims = {}, bool keepdim = false);
/// The mean of elements; NaN for an empty tensor.
/// Throws: TypeError if x is int64.
[[nodiscard]] Tensor mean(const Tensor& x, Dims dims = {}, bool keepdim = false);
/// The variance sum((x - mean)²) / (n - 1), or / n if not unbiased; NaN if the divisor is 0.
/// Throws: TypeError if x is int64.
[[nodiscard]] Tensor var(const Tensor& x, Dims dims = {}, bool keepdim = false, bool unbiased = true);
/// log(sum(exp(x))) without overflow; if all elements are -inf, y is -inf and dx NaN. dx = g · exp(x - y).
/// Throws: TypeError if x is int64.
[[nodiscard]] Tensor logsumexp(const Tensor& x, Dims dims = {}, bool keepdim = false);
/// The largest element; NaN if any is. Ties share the gradient evenly.
/// Throws: ValueError if there is no element to reduce.
[[nodiscard]] Tensor amax(const Tensor& x, Dims dims = {}, bool keepdim = false);
/// The smallest element, with the conventions of amax().
[[nodiscard]] Tensor amin(const Tensor& x, Dims dims = {}, bool keepdim = false);

/// Values, and their int64 positions along the dimension.
struct ValuesAndIndices {
  Tensor values = {};
  Tensor indices = {};
};
/// The largest element along `dim` (NaN if any is) and its first position, which alone gets the gradient.
[[nodiscard]] ValuesAndIndices max(const Tensor& x, std::int64_t dim, bool keepdim = false);
/// The smallest element along `dim` and its first position, which alone receives the gradient.
[[nodiscard]] ValuesAndIndices min(const Tensor& x, std::int64_t dim, bool keepdim = false);
/// amax() over all elements.
[[nodiscard]] Tensor max(const Tensor& x);
/// amin() over all elements.
[[nodiscard]] Tensor min(const Tensor& x);

/// The int64 position of the first maximum along `dim` [without dim], or without `dim` among all elements;
/// NaN counts as the largest. Throws: ValueError for a maximum over zero elements.
[[nodiscard]] Tensor argmax(const Tensor& x, std::int64_t dim, bool keepdim = false);
[[nodiscard]] Tensor argmax(const Tensor& x);

}  // namespace retort
