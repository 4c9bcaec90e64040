#include "retort/framework/train/predict.hpp"

#include <algorithm>
#include <numeric>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort::detail {

EvaluationMode::EvaluationMode(Module& module) {
  remember(module);
  module.eval();
}

EvaluationMode::~EvaluationMode() {
  // train() also sets the submodules, so parents are restored first.
  for (const auto& [module, mode] : modes_) module->train(mode);
}

void EvaluationMode::remember(Module& module) {
  modes_.emplace_back(&module, module.is_training());
  for (const auto& [name, child] : module.named_children()) remember(*child);
}

namespace {

/// Calls the model with the inputs of the batches of rows that `fetch` returns, transformed, and concatenates
/// the results.
Tensor predict_rows(std::int64_t size, const PredictOptions& options,
                    const std::function<Batch(const std::vector<std::int64_t>&)>& fetch,
                    const std::function<Tensor(const Batch&)>& model) {
  if (options.batch_size < 1)
    throw ValueError(message("predict: batch_size is {}; expected at least 1", options.batch_size));
  const NoGradGuard guard;
  Tensors parts;
  std::int64_t begin = 0;
  do {
    const std::int64_t end = std::min(begin + options.batch_size, size);
    std::vector<std::int64_t> rows(static_cast<std::size_t>(end - begin));
    std::iota(rows.begin(), rows.end(), begin);
    const auto fits = [&](const Tensor& x) { return x.dim() > 0 && x.size(0) == end - begin; };
    Batch batch = fetch(rows);
    if (options.transform) {
      batch.rows = std::move(rows);
      Generator generator(mix(0, static_cast<std::uint64_t>(begin)));
      batch = options.transform(std::move(batch), generator);
      if (!batch.input.defined() || !fits(batch.input))
        throw ShapeError(message("predict: .transform returned {} for {}; expected an input per row",
                                 batch.input.defined() ? shapes_of(batch) : "no input",
                                 detail::counted(end - begin, "row")));
    }
    parts.push_back(model(batch));
    if (!fits(parts.back()))
      throw ShapeError(message("predict: the model returned shape {} for {}; expected one row per input row",
                               parts.back().shape(), detail::counted(end - begin, "row")));
    Shape first = parts.front().shape();
    first[0] = end - begin;
    if (parts.back().shape() != first)
      throw ShapeError(message(
          "predict: the model returned {} for one batch and {} for another; only the first dimension may "
          "differ (for padded sequences, let batch_size cover all rows, or return one vector per sequence)",
          parts.front().shape(), parts.back().shape()));
    begin = end;
  } while (begin < size);
  return parts.size() == 1 ? parts.front() : concat(parts, 0);
}

}  // namespace

Tensor predict_batches(const Tensor& inputs, const PredictOptions& options,
                       const std::function<Tensor(const Batch&)>& model) {
  if (inputs.dim() == 0) throw ShapeError("predict: the inputs are 0-dimensional; expected rows, [N, ...]");
  const auto fetch = [&](const std::vector<std::int64_t>& rows) -> Batch {
    const std::int64_t begin = rows.empty() ? 0 : rows.front();
    return {.input = slice(inputs, 0, begin, begin + static_cast<std::int64_t>(rows.size()))};
  };
  return predict_rows(inputs.size(0), options, fetch, model);
}

Tensor predict_batches(const RowSource& source, const PredictOptions& options,
                       const std::function<Tensor(const Batch&)>& model) {
  const auto fetch = [&](const std::vector<std::int64_t>& rows) {
    return fetch_checked("predict", source, rows);
  };
  return predict_rows(source.size(), options, fetch, model);
}

}  // namespace retort::detail
