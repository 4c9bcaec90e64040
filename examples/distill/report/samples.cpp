#include "distill/report/samples.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <retort/framework/core/engine.hpp>
#include <retort/framework/ops/elementwise.hpp>
#include <retort/framework/ops/reduction.hpp>
#include <retort/framework/ops/softmax.hpp>

namespace distill {

using retort::Tensor;

Tensor softened(const Tensor& logits, double temperature) {
  return retort::no_grad([&] { return retort::softmax(logits.to(retort::DType::float64) / temperature, 1); });
}

std::vector<std::int64_t> predicted(const Tensor& logits) {
  return retort::argmax(logits, 1).values<std::int64_t>();
}

std::vector<std::int64_t> telling_rows(const RunRecord& run, const Tensor& labels, std::size_t count) {
  const std::vector<std::int64_t> teacher = predicted(run.teacher), alone = predicted(run.alone);
  const Tensor soft = softened(run.alone, 1);
  const auto probabilities = soft.data<double>();
  const auto targets = labels.data<std::int64_t>();
  const auto classes = static_cast<std::size_t>(run.alone.size(1));

  struct Found {
    double probability = 0;
    std::int64_t row = 0;
  };
  std::vector<std::optional<Found>> least(classes);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (teacher[i] != targets[i] || alone[i] == targets[i]) continue;
    const auto label = static_cast<std::size_t>(targets[i]);
    const double probability = probabilities[i * classes + label];
    if (!least[label] || probability < least[label]->probability)
      least[label] = {probability, static_cast<std::int64_t>(i)};
  }
  std::vector<Found> found;
  for (const auto& of_class : least)
    if (of_class) found.push_back(*of_class);
  if (found.size() > count) {
    std::ranges::stable_sort(found, {}, &Found::probability);
    found.resize(count);
    std::ranges::stable_sort(found, {},
                             [&](const Found& one) { return targets[static_cast<std::size_t>(one.row)]; });
  }
  std::vector<std::int64_t> rows;
  for (const Found& one : found) rows.push_back(one.row);
  return rows;
}

std::vector<std::int64_t> rows_by_confidence(const RunRecord& run, const Tensor& labels,
                                             const std::vector<double>& confidences) {
  const std::vector<std::int64_t> teacher = predicted(run.teacher);
  const Tensor soft = softened(run.teacher, 1);
  const auto probabilities = soft.data<double>();
  const auto targets = labels.data<std::int64_t>();
  const auto classes = static_cast<std::size_t>(soft.size(1));
  std::vector<std::int64_t> rows;
  for (const double confidence : confidences) {
    std::optional<std::size_t> nearest;
    const auto distance = [&](std::size_t i) {
      return std::abs(probabilities[i * classes + static_cast<std::size_t>(targets[i])] - confidence);
    };
    for (std::size_t i = 0; i < targets.size(); ++i)
      if (teacher[i] == targets[i] && !std::ranges::count(rows, static_cast<std::int64_t>(i)) &&
          (!nearest || distance(i) < distance(*nearest)))
        nearest = i;
    if (nearest) rows.push_back(static_cast<std::int64_t>(*nearest));
  }
  return rows;
}

std::vector<std::size_t> shown_classes(const std::vector<std::vector<double>>& distributions,
                                       std::size_t count) {
  std::vector<std::size_t> classes(distributions.front().size());
  std::iota(classes.begin(), classes.end(), std::size_t{0});
  if (classes.size() <= count) return classes;
  std::ranges::stable_sort(classes, std::ranges::greater(), [&](std::size_t k) {
    double most = 0;
    for (const auto& probabilities : distributions) most = std::max(most, probabilities[k]);
    return most;
  });
  classes.resize(count);
  std::ranges::sort(classes);
  return classes;
}

}  // namespace distill
