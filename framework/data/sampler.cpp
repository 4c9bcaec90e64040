#include "retort/framework/data/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/options.hpp"
#include "retort/framework/core/factories.hpp"
#include "retort/framework/core/require.hpp"

namespace retort {
namespace {

using Weights = std::vector<double>;

// Samples from the cumulative sums of the weights by bisection.
std::vector<std::int64_t> with_replacement(const Weights& sums, std::int64_t size, Generator& generator) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(size));
  for (std::int64_t& row : rows) {
    // A draw below the total falls into a row of positive weight, since only those increase the sums.
    const double draw = std::min(generator.uniform() * sums.back(), std::nextafter(sums.back(), 0.0));
    row = std::ranges::upper_bound(sums, draw) - sums.begin();
  }
  return rows;
}

// The rows with the smallest -log(u) / weight, in that order, are successive draws without replacement
// (Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir").
std::vector<std::int64_t> without_replacement(const Weights& weights, std::int64_t size,
                                              Generator& generator) {
  std::vector<std::pair<double, std::int64_t>> keys;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double draw = generator.uniform();
    if (weights[i] > 0) keys.emplace_back(-std::log1p(-draw) / weights[i], static_cast<std::int64_t>(i));
  }
  std::ranges::sort(keys);
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < size; ++i) rows.push_back(keys[static_cast<std::size_t>(i)].second);
  return rows;
}

}  // namespace

Sampler weighted_sampler(const Tensor& weights, const WeightedSamplerOptions& options) {
  detail::require_defined("weighted_sampler", "weights", weights);
  if (weights.dim() != 1)
    throw ShapeError(message("weighted_sampler: weights have shape {}; it must be (N)", weights.shape()));
  if (!is_floating_point(weights.dtype()))
    throw TypeError(
        message("weighted_sampler: weights are {}; they must be float32 or float64", weights.dtype()));
  auto numbers = std::make_shared<Weights>(weights.values<double>());
  for (std::size_t i = 0; i < numbers->size(); ++i)
    if (const double weight = (*numbers)[i]; !(weight >= 0) || !std::isfinite(weight))
      throw ValueError(message(
          "weighted_sampler: weight {} at position {} is not a finite number of at least 0", weight, i));
  const std::int64_t size = options.size.value_or(weights.size());
  const std::int64_t positive = std::ranges::count_if(*numbers, [](double weight) { return weight > 0; });
  if (size < 0 || positive == 0 || (!options.replacement && positive < size))
    throw ValueError(message("weighted_sampler: {} cannot be drawn from {} of positive weight{}",
                             detail::counted(size, "row"), positive,
                             options.replacement ? "" : " without replacement"));
  if (!options.replacement)
    return {size, [=](Generator& generator) { return without_replacement(*numbers, size, generator); }};
  std::partial_sum(numbers->begin(), numbers->end(), numbers->begin());
  if (!std::isfinite(numbers->back()))
    throw ValueError("weighted_sampler: the sum of the weights is not finite");
  return {size, [=](Generator& generator) { return with_replacement(*numbers, size, generator); }};
}

Sampler length_sampler(const Tensor& lengths, std::int64_t batch_size, std::int64_t pool) {
  detail::require_defined("length_sampler", "lengths", lengths);
  if (lengths.dim() != 1)
    throw ShapeError(message("length_sampler: lengths have shape {}; it must be (N)", lengths.shape()));
  if (lengths.dtype() != DType::int64)
    throw TypeError(message("length_sampler: lengths are {}; they must be int64", lengths.dtype()));
  if (batch_size < 1 || pool < 1)
    throw ValueError(
        message("length_sampler: batch_size is {} and pool {}; both must be at least 1", batch_size, pool));
  for (const std::int64_t length : lengths.data<std::int64_t>())
    if (length < 0)
      throw ValueError(message("length_sampler: a length is {}; it must be at least 0", length));
  const std::int64_t n = lengths.size();
  const auto order = [=](Generator& generator) {
    const auto length = lengths.data<std::int64_t>();
    std::vector<std::int64_t> rows = random_permutation(n, generator);
    const std::int64_t whole = n / batch_size;  // the smaller last batch, if any, stays at the end
    for (std::int64_t first = 0; first < whole; first += pool) {
      const auto end = rows.begin() + std::min(whole, first + pool) * batch_size;
      std::stable_sort(rows.begin() + first * batch_size, end, [&](std::int64_t a, std::int64_t b) {
        return length[static_cast<std::size_t>(a)] < length[static_cast<std::size_t>(b)];
      });
    }
    std::vector<std::int64_t> ordered;
    ordered.reserve(rows.size());
    for (const std::int64_t batch : random_permutation(whole, generator))
      ordered.insert(ordered.end(), rows.begin() + batch * batch_size,
                     rows.begin() + (batch + 1) * batch_size);
    ordered.insert(ordered.end(), rows.begin() + whole * batch_size, rows.end());
    return ordered;
  };
  return {n, order, n, batch_size};
}

Tensor class_counts(const Tensor& labels, std::int64_t classes) {
  detail::require_defined("class_counts", "labels", labels);
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  if (classes < 1 || classes > most)
    throw ValueError(
        message("class_counts: {}; there must be between 1 and {}", detail::counted(classes, "class"), most));
  if (labels.dtype() != DType::int64)
    throw TypeError(message("class_counts: labels are {}; they must be int64", labels.dtype()));
  std::vector<std::int64_t> counts(static_cast<std::size_t>(classes));
  const auto numbers = labels.data<std::int64_t>();
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::int64_t label = numbers[i];
    if (label < 0 || label >= classes)
      throw ValueError(
          message("class_counts: class index {} at position {} is out of range [0, {})", label, i, classes));
    ++counts[static_cast<std::size_t>(label)];
  }
  return tensor(counts);
}

Tensor class_weights(const Tensor& counts, DType dtype) {
  detail::require_defined("class_weights", "counts", counts);
  if (!is_floating_point(dtype))
    throw TypeError(message("class_weights: weights are float32 or float64, not {}", dtype));
  std::vector<double> weights = counts.values<double>();
  double sum = 0;
  double present = 0;
  for (const double count : weights) {
    detail::require_at_least_0("class_weights", "a count", count);
    sum += count;
    present += count > 0 ? 1 : 0;
  }
  if (present == 0)
    throw ValueError("class_weights: all counts are 0; give those of class_counts() for labels of your data");
  for (double& weight : weights) weight = weight > 0 ? sum / (present * weight) : 0;
  return tensor(weights, counts.shape()).to(dtype);
}

}  // namespace retort
