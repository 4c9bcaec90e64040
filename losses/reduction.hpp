// Reductions of a loss, including PyTorch's deprecated size_average and reduce, and losses as classes.
#pragma once

#include <initializer_list>
#include <iosfwd>
#include <string_view>
#include <utility>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

/// The reduction of a loss's terms: `none` keeps them, `sum` adds them, `mean` divides the sum by their
/// number (or total weight), `batchmean` by the first extent. Only KLDivLoss and the distillation losses
/// support `batchmean`. If one of the deprecated options `size_average` and `reduce` is given, `reduction` is
/// ignored: an absent one defaults to true; reduce = false means none, otherwise size_average selects mean
/// (true) or sum.
enum class Reduction { none, mean, sum, batchmean };

/// "none", "mean", "sum" or "batchmean".
[[nodiscard]] std::string_view name(Reduction reduction);
/// Prints name(reduction).
std::ostream& operator<<(std::ostream& stream, Reduction reduction);
/// The inverse of name().
/// Throws: ValueError if the text is not a name.
[[nodiscard]] Reduction reduction_from_string(std::string_view text);

/// A loss function with fixed options: `function(inputs…, options)`. The constructor checks the options if
/// they have a member check().
template <auto function, class Options, class... Inputs>
class LossOf {
 public:
  explicit LossOf(Options options = {}) : options_(std::move(options)) {
    if constexpr (requires { options_.check(); }) options_.check();
  }
  /// The default options.
  explicit LossOf(std::initializer_list<detail::NoOptions>) : LossOf() {}
  Tensor operator()(const Inputs&... inputs) const { return function(inputs..., options_); }

 private:
  Options options_;
};

}  // namespace retort
