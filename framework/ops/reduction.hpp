// Reductions over some dimensions or all. `keepdim` keeps the reduced ones with extent 1.
// IndexError for a dimension out of range, ValueError for one named twice.
#pragma once

#include "retort/framework/core/tensor.hpp"
#include "retort/framework/ops/dims.hpp"

namespace retort {

/// Of nothing 0. float sums are accurate to about 4 eps of the sum of |x|.
Tensor sum(const Tensor& x, Dims dims = {}, bool keepdim = false);
/// sum / number of elements; of nothing NaN. TypeError for int64.
Tensor mean(const Tensor& x, Dims dims = {}, bool keepdim = false);
/// sum((x - mean)²) / (n - 1), or / n when not unbiased. TypeError for int64.
Tensor var(const Tensor& x, Dims dims = {}, bool keepdim = false, bool unbiased = true);
/// log(sum(exp(x))) without overflow; -inf where all of x is -inf (and dx NaN). dx = g · exp(x - y).
Tensor logsumexp(const Tensor& x, Dims dims = {}, bool keepdim = false);
/// The largest and the smallest element, NaN if there is one; ties share the gradient evenly. ValueError of nothing.
Tensor amax(const Tensor& x, Dims dims = {}, bool keepdim = false);
Tensor amin(const Tensor& x, Dims dims = {}, bool keepdim = false);

/// Values and, as int64, their positions along the dimension.
struct ValuesAndIndices {
  Tensor values = {};
  Tensor indices = {};
};
/// The largest (smallest) element along `dim` and the position of the first such; the gradient goes there alone.
ValuesAndIndices max(const Tensor& x, std::int64_t dim, bool keepdim = false);
ValuesAndIndices min(const Tensor& x, std::int64_t dim, bool keepdim = false);
/// amax and amin over everything.
Tensor max(const Tensor& x);
Tensor min(const Tensor& x);

/// Position of the first maximum along `dim`, int64 [without dim]; of all elements, flat, without a dim.
Tensor argmax(const Tensor& x, std::int64_t dim, bool keepdim = false);
Tensor argmax(const Tensor& x);

}  // namespace retort
