#include "distill/report/samples.hpp"

#include <algorithm>
#include <cmath>
#include <set>

namespace distill {

using retort::Tensor;
using Rows = std::vector<std::int64_t>;

namespace {

/// The probability of the label in each row.
std::vector<double> certainty(const Tensor& logits, const Tensor& labels) {
  const Tensor column = retort::unsqueeze(labels, 1);
  return retort::gather(softened(logits, 1), 1, column).values<double>();
}

/// The rows in which the networks are right and wrong, respectively.
Rows rows_where(const Tensor& right, const Tensor& wrong, const Tensor& labels) {
  const Rows first = retort::argmax(right, 1).values<std::int64_t>(), targets = labels.values<std::int64_t>();
  const Rows second = wrong.defined() ? retort::argmax(wrong, 1).values<std::int64_t>() : Rows();
  Rows rows;
  for (std::size_t i = 0; i < targets.size(); ++i)
    if (first[i] == targets[i] && (second.empty() || second[i] != targets[i]))
      rows.push_back(static_cast<std::int64_t>(i));
  return rows;
}

}  // namespace

Tensor softened(const Tensor& logits, double temperature) {
  return retort::no_grad([&] { return retort::softmax(logits.to(retort::DType::float64) / temperature, 1); });
}

Rows telling_rows(const RunRecord& run, const Tensor& labels, std::size_t count) {
  const std::vector<double> probability = certainty(run.alone, labels);
  const Rows targets = labels.values<std::int64_t>();
  const auto probability_of = [&](std::int64_t row) { return probability[row]; };
  const auto class_of = [&](std::int64_t row) { return targets[row]; };
  Rows rows = rows_where(run.teacher, run.alone, labels);
  std::ranges::stable_sort(rows, {}, probability_of);
  std::set<std::int64_t> classes;  // the first row of each remains
  std::erase_if(rows, [&](std::int64_t row) { return !classes.insert(class_of(row)).second; });
  rows.resize(std::min(rows.size(), count));
  std::ranges::sort(rows, {}, class_of);
  return rows;
}

Rows rows_by_confidence(const RunRecord& run, const Tensor& labels, const std::vector<double>& confidences) {
  const std::vector<double> probability = certainty(run.teacher, labels);
  Rows left = rows_where(run.teacher, {}, labels), rows;
  for (const double confidence : confidences) {
    if (left.empty()) break;
    const auto nearest = std::ranges::min_element(
        left, {}, [&](std::int64_t row) { return std::abs(probability[row] - confidence); });
    rows.push_back(*nearest);
    left.erase(nearest);
  }
  return rows;
}

}  // namespace distill
