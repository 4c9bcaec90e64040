#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/shape_ops.hpp"
#include "retort/losses/weighted_rows_impl.hpp"

namespace retort::detail {

Tensor reduce_rows(const Tensor& terms, const ClassRows& rows, Reduction reduction) {
  const Tensor counted = counted_terms(terms, rows);
  const Tensor weighted = rows.weight.defined() ? counted * rows.weight : counted;
  if (reduction == Reduction::none) return weighted;
  const Tensor total = sum(weighted);
  if (reduction == Reduction::sum) return total;
  return rows.divisor == 0 ? total * 0 : total / rows.divisor;
}

Tensor counted_logits(const Tensor& x, const ClassRows& rows) {
  return rows.mask.defined() ? where(unsqueeze(rows.mask, -1), x, 0) : x;
}

}  // namespace retort::detail
