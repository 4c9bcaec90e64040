#include "retort/framework/train/predict.hpp"

#include <algorithm>
#include <numeric>

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

/// Calls the model with rows begin … end-1 of each batch, as returned by `rows`, and concatenates the
/// results.
Tensor predict_rows(std::int64_t size, const PredictOptions& options,
                    const std::function<Tensor(std::int64_t, std::int64_t)>& rows,
                    const std::function<Tensor(const Tensor&)>& model) {
  if (options.batch_size < 1)
    throw ValueError(message("predict: batch_size is {}; expected at least 1", options.batch_size));
  const NoGradGuard guard;
  Tensors parts;
  std::int64_t begin = 0;
  do {
    const std::int64_t end = std::min(begin + options.batch_size, size);
    parts.push_back(model(rows(begin, end)));
    const Shape& shape = parts.back().shape();
    if (shape.empty() || shape[0] != end - begin)
      throw ShapeError(
          message("predict: the model returned shape {} for {} rows; expected one row per input row", shape,
                  end - begin));
    begin = end;
  } while (begin < size);
  return parts.size() == 1 ? parts.front() : concat(parts, 0);
}

}  // namespace

Tensor predict_batches(const Tensor& inputs, const PredictOptions& options,
                       const std::function<Tensor(const Tensor&)>& model) {
  if (inputs.dim() == 0) throw ShapeError("predict: the inputs are 0-dimensional; expected rows, [N, ...]");
  return predict_rows(
      inputs.size(0), options,
      [&](std::int64_t begin, std::int64_t end) { return slice(inputs, 0, begin, end); }, model);
}

Tensor predict_batches(const RowSource& source, const PredictOptions& options,
                       const std::function<Tensor(const Tensor&)>& model) {
  const auto fetch = [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int64_t> rows(static_cast<std::size_t>(end - begin));
    std::iota(rows.begin(), rows.end(), begin);
    return source.fetch(rows).input;
  };
  return predict_rows(source.size(), options, fetch, model);
}

}  // namespace retort::detail
