// How a loss puts its terms together, and the deprecated way of saying so.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "retort/framework/core/tensor.hpp"

namespace retort {

/// `none` keeps the terms, `sum` adds them, `mean` divides the sum by their number (or weight), `batchmean` by the
/// first extent; the last belongs to KLDivLoss and DistillationLoss alone.
enum class Reduction { none, mean, sum, batchmean };

/// "none", "mean", "sum" or "batchmean".
std::string_view name(Reduction reduction);
/// The reverse. ValueError for anything else.
Reduction reduction_from_string(std::string_view text);

namespace detail {
/// A constructor that takes a list of them is what `KLDivLoss({})` means: the default options, and not a copy of a
/// loss made of nothing, which would fit as well.
struct NoOptions {};
using Defaults = std::initializer_list<NoOptions>;

/// What PyTorch's deprecated arguments decide: when either is given, an absent one counts as true and `reduction` is
/// ignored; reduce = false is none, else size_average chooses between mean and sum. Warns.
Reduction resolve_reduction(std::optional<bool> size_average, std::optional<bool> reduce,
                            Reduction reduction);
/// ValueError for batchmean, in the name of a loss that has no such reduction.
void refuse_batchmean(const char* operation, Reduction reduction);
/// sum, mean or the terms themselves.
Tensor reduce_terms(const Tensor& terms, Reduction reduction);
}  // namespace detail

}  // namespace retort
