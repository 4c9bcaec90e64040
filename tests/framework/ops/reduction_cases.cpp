// Rows of the op table: framework/ops/reduction.hpp and softmax.hpp.
#include <cmath>

#include "op_cases.hpp"

namespace retort::tests {
namespace {

using In = const Tensors&;
using Dimensions = std::vector<std::int64_t>;

double variance(const Doubles& x, double divisor) {
  const double mean = total(x) / static_cast<double>(x.size());
  double sum = 0;
  for (const double value : x) sum += (value - mean) * (value - mean);
  return sum / divisor;
}
double smallest(const Doubles& x) { return *std::min_element(x.begin(), x.end()); }

/// Samples without an empty one, for reductions that are undefined on empty tensors.
std::vector<Tensors> filled_samples() {
  std::vector<Tensors> samples = unary_samples();
  std::erase_if(samples, [](In in) { return in[0].size() == 0; });
  return samples;
}
std::vector<Tensors> matrices() {
  return {{spread({3, 5})}, {spread({2, 3, 4})}, {spread({17, 33})}, {spread({1, 1})}};
}

/// Rows of one reduction: over everything, one dimension, several, with and without keepdim.
template <class Call, class F>
std::vector<OpCase> reduction(const char* name, Call call, F f, bool of_nothing) {
  const auto row = [&](const char* variant, Dimensions dims, bool keepdim,
                       std::vector<Tensors> samples) -> OpCase {
    return {.name = name,
            .variant = variant,
            .call = [=](In in) { return call(in[0], Dims(dims), keepdim); },
            .reference = [=](In in) { return reduced(in[0], dims, keepdim, f); },
            .samples = std::move(samples)};
  };
  std::vector<Tensors> with_empty = matrices();
  if (of_nothing) with_empty.push_back({spread({0, 3})});
  std::vector<OpCase> rows{row("all", {}, false, of_nothing ? unary_samples() : filled_samples()),
                           row("all, keepdim", {}, true, matrices()),
                           row("dim 0", {0}, false, with_empty),
                           row("dim -1, keepdim", {-1}, true, matrices()),
                           row("dims 0 and -1", {0, -1}, false, matrices()),
                           row("the middle", {1}, false, {{spread({2, 3, 4})}, {spread({1, 1, 1})}})};
  rows.back().samples.push_back({spread({0, 3, 2})});  // nothing in the result, but something to reduce
  rows.back().refused = {{Refusal::index, {spread({4})}}};
  return rows;
}

/// Both results of max and min in one tensor: values, and positions that carry no gradient.
Tensor with_positions(const ValuesAndIndices& both) {
  return both.values + both.indices.to(both.values.dtype());
}

template <bool largest_first>
Function picked(std::int64_t dim, bool keepdim) {
  return [=](In in) {
    return reduced(in[0], {dim}, keepdim, [](const Doubles& x) {
      const auto place =
          largest_first ? std::max_element(x.begin(), x.end()) : std::min_element(x.begin(), x.end());
      return *place + static_cast<double>(place - x.begin());
    });
  };
}

double position(const Doubles& x) {
  return static_cast<double>(std::max_element(x.begin(), x.end()) - x.begin());
}

std::vector<OpCase> extremes() {
  const std::vector<Refused> out_of_range{{Refusal::index, {spread({4})}}};
  const std::vector<Tensors> small{{spread({3, 5})}, {spread({2, 17})}, {spread({1, 1})}, {spread({0, 3})}};
  return {
      {.name = "max",
       .variant = "of all",
       .call = [](In in) { return max(in[0]); },
       .reference = [](In in) { return reduced(in[0], {}, false, largest); },
       .samples = filled_samples(),
       .refused = {{Refusal::value, {spread({0})}}}},
      {.name = "min",
       .variant = "of all",
       .call = [](In in) { return min(in[0]); },
       .reference = [](In in) { return reduced(in[0], {}, false, smallest); },
       .samples = filled_samples(),
       .refused = {{Refusal::value, {spread({0})}}}},
      {.name = "max",
       .variant = "with positions",
       .call = [](In in) { return with_positions(max(in[0], 1)); },
       .reference = picked<true>(1, false),
       .samples = small,
       .refused = out_of_range},
      {.name = "min",
       .variant = "with positions, keepdim",
       .call = [](In in) { return with_positions(min(in[0], -1, true)); },
       .reference = picked<false>(-1, true),
       .samples = small},
      {.name = "argmax",
       .call = [](In in) { return argmax(in[0], 1); },
       .reference = [](In in) { return as_int64(reduced(in[0], {1}, false, position)); },
       .samples = small,
       .refused = out_of_range,
       .differentiable = false},
      {.name = "argmax",
       .variant = "of all",
       .call = [](In in) { return argmax(in[0]); },
       .reference = [](In in) { return as_int64(reduced(in[0], {}, false, position)); },
       .samples = filled_samples(),
       .differentiable = false},
  };
}

std::vector<OpCase> softmax_family() {
  const auto row = [](const char* name, std::int64_t dim, Tensor (*call)(const Tensors&),
                      Doubles (*f)(const Doubles&), std::vector<Tensors> samples) -> OpCase {
    return {.name = name,
            .variant = "dim " + std::to_string(dim),
            .call = call,
            .reference = [=](In in) { return along(in[0], dim, f); },
            .samples = std::move(samples),
            .refused = {{Refusal::type, {indices({3, 3, 3}, 1, 4)}}}};
  };
  const std::vector<Tensors> last{{spread({3, 5})}, {spread({33})},   {uniform({2, 3, 17}, 1, -1e4, 1e4)},
                                  {spread({1})},    {spread({0, 3})}, {spread({3, 0})}};
  const std::vector<Tensors> first{
      {spread({3, 5})}, {spread({7, 2, 3})}, {spread({1})}, {spread({})}, {spread({0, 3})}};
  return {
      row(
          "softmax", -1, [](In in) { return softmax(in[0], -1); }, softmax_of, last),
      row(
          "softmax", 0, [](In in) { return softmax(in[0], 0); }, softmax_of, first),
      row(
          "log_softmax", -1, [](In in) { return log_softmax(in[0], -1); }, log_softmax_of, last),
      row(
          "log_softmax", 0, [](In in) { return log_softmax(in[0], 0); }, log_softmax_of, first),
  };
}

}  // namespace

std::vector<OpCase> reduction_cases() {
  using T = const Tensor&;
  using D = const Dims&;
  const auto mean_of = [](const Doubles& x) { return total(x) / static_cast<double>(x.size()); };
  const auto count = [](const Doubles& x) { return static_cast<double>(x.size()); };
  std::vector<OpCase> rows;
  for (const auto& part :
       {reduction(
            "sum", [](T x, D dims, bool keep) { return sum(x, dims, keep); }, total, true),
        reduction(
            "mean", [](T x, D dims, bool keep) { return mean(x, dims, keep); }, mean_of, true),
        reduction(
            "var", [](T x, D dims, bool keep) { return var(x, dims, keep, false); },
            [=](const Doubles& x) { return variance(x, count(x)); }, true),
        reduction(
            "logsumexp", [](T x, D dims, bool keep) { return logsumexp(x, dims, keep); }, log_sum_exp, true),
        reduction(
            "amax", [](T x, D dims, bool keep) { return amax(x, dims, keep); }, largest, false),
        reduction(
            "amin", [](T x, D dims, bool keep) { return amin(x, dims, keep); }, smallest, false),
        extremes(), softmax_family()})
    rows.insert(rows.end(), part.begin(), part.end());
  rows.push_back({.name = "var",
                  .variant = "unbiased",
                  .call = [](In in) { return var(in[0], 1); },
                  .reference =
                      [=](In in) {
                        return reduced(in[0], {1}, false,
                                       [=](const Doubles& x) { return variance(x, count(x) - 1); });
                      },
                  .samples = {{spread({3, 5})}, {spread({2, 17})}}});
  return rows;
}

}  // namespace retort::tests
