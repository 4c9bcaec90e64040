#include "retort/losses/reduction.hpp"

#include <ostream>

#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/losses/rows_impl.hpp"

namespace retort {

std::string_view name(Reduction reduction) {
  switch (reduction) {
    case Reduction::none: return "none";
    case Reduction::mean: return "mean";
    case Reduction::sum: return "sum";
    case Reduction::batchmean: return "batchmean";
  }
  return "unknown reduction";
}

std::ostream& operator<<(std::ostream& stream, Reduction reduction) { return stream << name(reduction); }

Reduction reduction_from_string(std::string_view text) {
  for (const Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum, Reduction::batchmean})
    if (name(reduction) == text) return reduction;
  throw ValueError(message(
      "reduction_from_string: '{}' is not a reduction; it must be none, mean, sum or batchmean", text));
}

namespace detail {

Reduction resolve_reduction(std::optional<bool> size_average, std::optional<bool> reduce,
                            Reduction reduction) {
  if (!size_average && !reduce) return reduction;
  reduction = !reduce.value_or(true)        ? Reduction::none
              : size_average.value_or(true) ? Reduction::mean
                                            : Reduction::sum;
  warn_once("deprecated size_average and reduce",
            message("size_average and reduce are deprecated; use reduction = '{}' instead", name(reduction)));
  return reduction;
}

void refuse_batchmean(const char* operation, Reduction reduction) {
  if (reduction == Reduction::batchmean)
    throw ValueError(
        message("{}: reduction batchmean belongs to KLDivLoss and DistillationLoss; use mean, which "
                "averages over the batch",
                operation));
}

void require_same_shape(const char* operation, const Tensor& input, const Tensor& target) {
  require_floating(operation, "input", input);
  require_floating(operation, "target", target);
  if (input.shape() != target.shape())
    throw ShapeError(message("{}: input has shape {} but target has shape {}; they must be equal", operation,
                             input.shape(), target.shape()));
}

Tensor reduce_terms(const Tensor& terms, Reduction reduction, std::optional<double> divisor) {
  if (reduction == Reduction::none) return terms;
  if (reduction == Reduction::sum) return sum(terms);
  return divisor ? sum(terms) / *divisor : mean(terms);
}

}  // namespace detail
}  // namespace retort
