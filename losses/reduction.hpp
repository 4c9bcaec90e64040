// Reductions of a loss, including PyTorch's deprecated size_average and reduce, and losses as classes.
#pragma once

#include <initializer_list>
#include <string_view>
#include <utility>

#include "retort/framework/core/factories.hpp"

namespace retort {

/// How the terms of a loss become its value: `none` keeps them, `sum` adds them, `mean` divides the sum by
/// their number (or total weight), `batchmean` by the first extent. Only KLDivLoss and the distillation
/// losses have `batchmean`. A loss that has the deprecated `size_average` or `reduce` ignores `reduction` if
/// either is given: an absent one counts as true; reduce = false means none, otherwise size_average chooses
/// between mean and sum.
enum class Reduction { none, mean, sum, batchmean };

/// "none", "mean", "sum" or "batchmean".
[[nodiscard]] std::string_view name(Reduction reduction);
/// The inverse of name(). Throws: ValueError for any other text.
[[nodiscard]] Reduction reduction_from_string(std::string_view text);

namespace detail {
struct NoOptions {};
}  // namespace detail

/// A loss function with its options fixed: `function(inputs…, options)`. The options are checked when the
/// loss is made, by their member check() if they have one.
template <auto function, class Options, class... Inputs>
class LossOf {
 public:
  explicit LossOf(Options options = {}) : options_(std::move(options)) {
    if constexpr (requires { options_.check(); }) options_.check();
  }
  /// `KLDivLoss({})` means the default options; without this constructor it could also be a copy of a
  /// KLDivLoss.
  explicit LossOf(std::initializer_list<detail::NoOptions>) : LossOf() {}
  Tensor operator()(const Inputs&... inputs) const { return function(inputs..., options_); }

 private:
  Options options_;
};

}  // namespace retort
