#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/op.hpp"
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
  require_floating(operation, "weight", weight);
  if (const Shape expected{input[dim]}; weight.shape() != expected)
    throw ShapeError(message("{}: weight has shape {} but the input {} has {}; weight must have shape {}",
                             operation, weight.shape(), input, detail::counted(input[dim], "class"),
                             expected));
}

namespace {
// Returns true if every label is in [0, classes): the sign bits of label and classes - 1 - label are then
// clear.
bool all_classes(const Index* label, Index count, Index classes) {
  const auto last = static_cast<std::uint64_t>(classes - 1);
  std::uint64_t outside = 0;
  for (Index i = 0; i < count; ++i) {
    const auto value = static_cast<std::uint64_t>(label[i]);
    outside |= value | (last - value);
  }
  return count == 0 || outside >> 63 == 0;
}
}  // namespace

ClassRows prepare_rows(const char* operation, const Shape& input, DType dtype, std::size_t dim,
                       const Tensor& labels, const RowOptions& options) {
  const Shape shape = row_shape(input, dim);
  const Index classes = input[dim], count = element_count(shape);
  const RowOptions::Names& names = options.names;
  for (const auto& [what, given] : {std::pair<const char*, const Tensor&>(names.labels, labels),
                                    {names.mask, options.mask},
                                    {names.row_weight, options.row_weight}}) {
    if (!given.defined()) continue;
    if (&given == &options.row_weight)
      require_floating(operation, what, given);
    else
      require_int64(operation, what, given);
    if (given.shape() != shape)
      throw ShapeError(message("{}: {} has shape {} but {} has shape {}; expected {}", operation, names.input,
                               input, what, given.shape(), shape));
  }
  check_class_weight(operation, options.weight, input, dim);
  const Index* const mask = elements<Index>(options.mask);
  const Index* const label = options.read_labels ? elements<Index>(labels) : nullptr;
  const auto counts = [&](Index i) {
    return (mask == nullptr || mask[i] != 0) && (label == nullptr || label[i] != options.ignore_index);
  };
  ClassRows rows{labels, {}, {}};
  const bool plain = mask == nullptr && label != nullptr && all_classes(label, count, classes) &&
                     !(options.ignore_index && 0 <= *options.ignore_index && *options.ignore_index < classes);
  if (plain) rows.counted = count;
  for (Index i = plain ? count : 0; i < count; ++i) {
    if (mask != nullptr && mask[i] != 0 && mask[i] != 1)
      throw ValueError(message("{}: {} is {} at position {}; it must be 0 or 1", operation, names.mask,
                               mask[i], position_text(i, shape)));
    if (!counts(i)) continue;
    if (classes == 0)
      throw ShapeError(message("{}: {} has shape {}, which has no classes; there must be at least one",
                               operation, names.input, input));
    ++rows.counted;
    if (label != nullptr && (label[i] < 0 || label[i] >= classes))
      throw IndexError(message("{}: class index {} at position {} of {} is out of range [0, {})", operation,
                               label[i], position_text(i, shape), names.labels, classes));
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

namespace {

// The reference for nll_of_rows, in ops.
Tensor nll_in_ops(const Tensor& log_probabilities, std::size_t dim, const ClassRows& rows,
                  Reduction reduction) {
  const auto d = static_cast<Index>(dim);
  const Tensor picks = unsqueeze(counted_terms(rows.labels, rows), d);
  const Tensor picked = log_probabilities.size(d) == 0 ? sum(log_probabilities, d)
                                                       : squeeze(gather(log_probabilities, d, picks), d);
  const Tensor terms = rows.weight.defined() ? neg(picked) * rows.weight : neg(picked);
  return reduce_terms(counted_terms(terms, rows), reduction, rows.divisor);
}

// Calls visit(row, position of its label in the input) for each included row.
template <class Visit>
void for_each_label(const ClassRows& rows, const Split& split, Visit visit) {
  const Index* const mask = elements<Index>(rows.mask);
  const Index* const label = elements<Index>(rows.labels);
  if (split.inner == 1) {
    for (Index i = 0; i < split.outer; ++i)
      if (mask == nullptr || mask[i] != 0) visit(i, i * split.n + label[i]);
    return;
  }
  for (Index o = 0, i = 0; o < split.outer; ++o)
    for (Index k = 0; k < split.inner; ++k, ++i)
      if (mask == nullptr || mask[i] != 0) visit(i, (o * split.n + label[i]) * split.inner + k);
}

}  // namespace

Tensor nll_of_rows(const Tensor& log_probabilities, std::size_t dim, const ClassRows& rows,
                   Reduction reduction) {
  const bool by_row = reduction == Reduction::none;
  const double divisor = reduction == Reduction::mean ? rows.divisor : 1;
  const Split split = split_at(log_probabilities.shape(), dim);
  Tensor value = compute(
      by_row ? rows.labels.shape() : Shape{}, log_probabilities.dtype(),
      [&]<class T>(T* out, const T* x, const T* weight) {
        double total = 0;
        if (by_row) std::fill_n(out, rows.labels.size(), T{0});
        for_each_label(rows, split, [&](Index i, Index at) {
          const T term = weight != nullptr ? -x[at] * weight[i] : -x[at];
          if (by_row)
            out[i] = term;
          else
            total += static_cast<double>(term);
        });
        if (!by_row) out[0] = static_cast<T>(total / divisor);
      },
      log_probabilities, rows.weight);
  return record(
      {.name = "nll_loss",
       .inputs = {log_probabilities},
       .value = std::move(value),
       .vjp = vjp_by_reference(
           [rows, dim, reduction](const Tensors& x) { return nll_in_ops(x[0], dim, rows, reduction); },
           {log_probabilities}),
       .fast_vjp = [rows, dim, by_row, divisor, shape = log_probabilities.shape()](const Tensor& g, Needs) {
         return compute(
             shape, g.dtype(),
             [&]<class T>(T* dx, const T* of_row, const T* weight) {
               std::fill_n(dx, element_count(shape), T{0});
               for_each_label(rows, split_at(shape, dim), [&](Index i, Index at) {
                 const T upstream = static_cast<T>(-static_cast<double>(of_row[by_row ? i : 0]) / divisor);
                 dx[at] = weight != nullptr ? upstream * weight[i] : upstream;
               });
             },
             g, rows.weight);
       }});
}

}  // namespace retort::detail
