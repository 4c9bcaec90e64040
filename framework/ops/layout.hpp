// Operations that flip, pad, repeat or mask elements.
#pragma once

#include <cstdint>
#include <vector>

#include "retort/framework/core/factories.hpp"
#include "retort/framework/ops/dims.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Reverses the order of the elements along each of `dims`.
/// Throws: IndexError if a dimension is out of range; ValueError if one appears twice.
[[nodiscard]] Tensor flip(const Tensor& x, const Dims& dims);

/// Pads x with `value`. `padding` holds pairs (before, after), starting with the last dimension: {left,
/// right, top, bottom, …}. Negative numbers crop; cropped elements have gradient 0. As
/// torch.nn.functional.pad.
/// Throws: ShapeError if the count is odd, there are more pairs than dimensions, or an extent would be
/// negative; TypeError for a fractional value in int64.
[[nodiscard]] Tensor pad(const Tensor& x, const std::vector<std::int64_t>& padding, Scalar value = 0);

/// Repeats x times[i] times along dimension i. Additional numbers add leading dimensions; 0 gives an empty
/// result.
/// Throws: ShapeError if there are fewer numbers than dimensions, or the result would have more than 8
/// dimensions or 2^56 elements; ValueError if a number is negative.
[[nodiscard]] Tensor repeat(const Tensor& x, const std::vector<std::int64_t>& times);

/// The matrices x [..., rows, columns] with 0 above diagonal k, also instead of NaN and inf. k = 0 is the
/// main diagonal; a positive k lies above it.
/// Throws: ShapeError if x has fewer than two dimensions.
[[nodiscard]] Tensor tril(const Tensor& x, std::int64_t k = 0);
/// As tril(), with 0 below diagonal k.
[[nodiscard]] Tensor triu(const Tensor& x, std::int64_t k = 0);

/// `value` where the int64 mask is not 0, otherwise x. Both broadcast. The gradient is 0 at masked elements.
/// Throws: TypeError if the mask is not int64; ShapeError if the shapes do not broadcast.
[[nodiscard]] Tensor masked_fill(const Tensor& x, const Tensor& mask, Scalar value);

}  // namespace retort
