// Reductions over some dimensions or all. `keepdim` keeps the reduced ones with extent 1.
// IndexError for a dimension out of range, ValueError for one named twice.
#pragma once

#include "retort/framework/core/factories.hpp"
#include "retort/framework/ops/dims.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Of nothing 0. float sums are accurate to about 4 eps of the sum of |x|.
[[nodiscard]] Tensor sum(const Tensor& x, Dims dims = {}, bool keepdim = false);
/// sum / number of elements; NaN for an empty tensor. TypeError for int64.
[[nodiscard]] Tensor mean(const Tensor& x, Dims dims = {}, bool keepdim = false);
/// sum((x - mean)²) / (n - 1), or / n when not unbiased. TypeError for int64.
[[nodiscard]] Tensor var(const Tensor& x, Dims dims = {}, bool keepdim = false, bool unbiased = true);
/// log(sum(exp(x))) without overflow; -inf where all of x is -inf (and dx NaN). dx = g · exp(x - y).
[[nodiscard]] Tensor logsumexp(const Tensor& x, Dims dims = {}, bool keepdim = false);
/// The largest and the smallest element, NaN if there is one; ties share the gradient evenly. ValueError of
/// nothing.
[[nodiscard]] Tensor amax(const Tensor& x, Dims dims = {}, bool keepdim = false);
[[nodiscard]] Tensor amin(const Tensor& x, Dims dims = {}, bool keepdim = false);

/// Values and, as int64, their positions along the dimension.
struct ValuesAndIndices {
  Tensor values = {};
  Tensor indices = {};
};
/// The largest (smallest) element along `dim` and the position of the first such; the gradient goes there
/// alone.
[[nodiscard]] ValuesAndIndices max(const Tensor& x, std::int64_t dim, bool keepdim = false);
[[nodiscard]] ValuesAndIndices min(const Tensor& x, std::int64_t dim, bool keepdim = false);
/// amax and amin over everything.
[[nodiscard]] Tensor max(const Tensor& x);
[[nodiscard]] Tensor min(const Tensor& x);

/// Position of the first maximum along `dim`, int64 [without dim]; of all elements, flat, without a dim.
[[nodiscard]] Tensor argmax(const Tensor& x, std::int64_t dim, bool keepdim = false);
[[nodiscard]] Tensor argmax(const Tensor& x);

}  // namespace retort
