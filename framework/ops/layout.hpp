// Operations that mirror, pad, repeat or blank elements.
#pragma once

#include <cstdint>
#include <vector>

#include "retort/framework/core/factories.hpp"
#include "retort/framework/ops/dims.hpp"

namespace [[RETORT_EXPORT]] retort {

/// The elements in reverse order along each of `dims`.
/// Throws: IndexError for a dimension out of range, ValueError for one named twice.
[[nodiscard]] Tensor flip(const Tensor& x, const Dims& dims);

/// x with `value` around it. `padding` holds pairs (before, after), the last dimension's first: {left, right,
/// top, bottom, …}. A negative number cuts elements off, whose gradient is 0. As torch.nn.functional.pad.
/// Throws: ShapeError for an odd count, more pairs than dimensions or an extent that would be negative.
[[nodiscard]] Tensor pad(const Tensor& x, const std::vector<std::int64_t>& padding, Scalar value = 0);

/// x side by side with itself, times[i] times along dimension i. More numbers than dimensions add leading
/// dimensions, 0 makes the result empty.
/// Throws: ShapeError for fewer numbers than dimensions, ValueError for a negative one.
[[nodiscard]] Tensor repeat(const Tensor& x, const std::vector<std::int64_t>& times);

/// The matrices x [..., rows, columns] with 0 above diagonal k (tril) or below it (triu): k = 0 is the main
/// diagonal, a larger k lies above it. NaN and inf are blanked, too.
/// Throws: ShapeError for fewer than two dimensions.
[[nodiscard]] Tensor tril(const Tensor& x, std::int64_t k = 0);
[[nodiscard]] Tensor triu(const Tensor& x, std::int64_t k = 0);

/// `value` where the int64 mask is not 0, elsewhere x. Both broadcast. The gradient is 0 at masked elements.
/// Throws: TypeError for a mask that is not int64, ShapeError if the shapes do not broadcast.
[[nodiscard]] Tensor masked_fill(const Tensor& x, const Tensor& mask, Scalar value);

}  // namespace retort
