#include <algorithm>
#include <cmath>
#include <numeric>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/indexing.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/losses/rows_impl.hpp"

namespace retort::detail {

std::size_t class_dim(const char* operation, const Tensor& input) {
  if (input.dim() == 0)
    throw ShapeError(message("{}: input has shape (); it must be (C) or (N, C, ...)", operation));
  return input.dim() == 1 ? 0 : 1;
}

void check_class_weight(const char* operation, const Tensor& weight, const Shape& input, std::size_t dim) {
  if (!weight.defined()) return;
  require_floating(operation, weight);
  if (const Shape expected{input[dim]}; weight.shape() != expected)
    throw ShapeError(
        message("{}: weight has shape {} but the input {} has {} classes; weight must have shape {}",
                operation, weight.shape(), input, input[dim], expected));
}

ClassRows prepare_rows(const char* operation, const Shape& input, DType dtype, std::size_t dim,
                       const Tensor& labels, const RowOptions& options) {
  const Shape shape = row_shape(input, dim);
  const Index classes = input[dim], count = element_count(shape);
  for (const auto& [what, given] :
       {std::pair<const char*, const Tensor&>("class labels", labels), {"mask", options.mask}}) {
    if (!given.defined()) continue;
    require_int64(operation, what, given);
    if (given.shape() != shape)
      throw ShapeError(message("{}: input has shape {} but the {} {}; expected shape {}", operation, input,
                               what, given.shape(), shape));
  }
  check_class_weight(operation, options.weight, input, dim);
  if (options.row_weight.defined()) {
    require_floating(operation, options.row_weight);
    if (options.row_weight.shape() != shape)
      throw ShapeError(message("{}: input has shape {} but the weights of its rows {}; expected shape {}",
                               operation, input, options.row_weight.shape(), shape));
  }
  const Index* const mask = elements<Index>(options.mask);
  const Index* const label = options.read_labels ? elements<Index>(labels) : nullptr;
  const auto counts = [&](Index i) {
    return (mask == nullptr || mask[i] != 0) && (label == nullptr || label[i] != options.ignore_index);
  };
  ClassRows rows{labels, {}, {}};
  for (Index i = 0; i < count; ++i) {
    if (mask != nullptr && mask[i] != 0 && mask[i] != 1)
      throw ValueError(message("{}: mask is {} at position {}; it must be 0 or 1", operation, mask[i], i));
    if (!counts(i)) continue;
    ++rows.counted;
    if (label != nullptr && (label[i] < 0 || label[i] >= classes))
      throw IndexError(message("{}: class index {} at position {} is out of range [0, {})", operation,
                               label[i], i, classes));
  }
  rows.divisor = static_cast<double>(rows.counted);
  if (rows.counted < count)
    rows.mask = options.mask.defined() ? options.mask : not_equal(labels, *options.ignore_index);
  const bool by_class = options.weight.defined();
  if (const Tensor& weight = by_class ? options.weight : options.row_weight; weight.defined())
    rows.weight = compute(
        shape, dtype,
        [&]<class T>(T* of_row, const T* given) {
          for (Index i = 0; i < count; ++i) of_row[i] = counts(i) ? given[by_class ? label[i] : i] : T{0};
          rows.divisor = std::accumulate(of_row, of_row + count, 0.0);
        },
        weight.detach().to(dtype));
  return rows;
}

bool all_finite(const Tensor& x) {
  bool finite = true;
  compute_into(
      x.dtype(),
      [&](const auto* values) {
        finite = std::all_of(values, values + x.size(), [](auto value) { return std::isfinite(value); });
      },
      x);
  return finite;
}

Tensor counted_terms(const Tensor& terms, const ClassRows& rows) {
  return rows.mask.defined() ? where(rows.mask, terms, 0) : terms;
}

Tensor nll_of_rows(const Tensor& log_probabilities, std::size_t dim, const ClassRows& rows,
                   Reduction reduction) {
  const auto d = static_cast<Index>(dim);
  const Tensor picks = unsqueeze(counted_terms(rows.labels, rows), d);
  const Tensor picked = log_probabilities.size(d) == 0 ? sum(log_probabilities, d)
                                                       : squeeze(gather(log_probabilities, d, picks), d);
  const Tensor terms = rows.weight.defined() ? neg(picked) * rows.weight : neg(picked);
  return reduce_terms(counted_terms(terms, rows), reduction, rows.divisor);
}

}  // namespace retort::detail
