#include "retort/framework/train/predict.hpp"

#include <algorithm>

#include "retort/framework/base/error.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort::detail {

EvaluationMode::EvaluationMode(Module& module) {
  remember(module);
  module.eval();
}

EvaluationMode::~EvaluationMode() {
  // train() also sets the children, so parents are restored first.
  for (const auto& [module, mode] : modes_) module->train(mode);
}

void EvaluationMode::remember(Module& module) {
  modes_.emplace_back(&module, module.is_training());
  for (const auto& [name, child] : module.named_children()) remember(*child);
}

Tensor predict_batches(const Tensor& inputs, const PredictOptions& options,
                       const std::function<Tensor(const Tensor&)>& model) {
  if (options.batch_size < 1)
    throw ValueError(message("predict: batch_size is {}; expected at least 1", options.batch_size));
  if (inputs.dim() == 0) throw ShapeError("predict: the inputs are 0-dimensional; expected rows, [N, ...]");
  const NoGradGuard guard;
  Tensors parts;
  std::int64_t begin = 0;
  do {
    const std::int64_t end = std::min(begin + options.batch_size, inputs.size(0));
    parts.push_back(model(slice(inputs, 0, begin, end)));
    const Shape& shape = parts.back().shape();
    if (shape.empty() || shape[0] != end - begin)
      throw ShapeError(
          message("predict: the model returned shape {} for {} rows; expected one row per input row", shape,
                  end - begin));
    begin = end;
  } while (begin < inputs.size(0));
  return parts.size() == 1 ? parts.front() : concat(parts, 0);
}

}  // namespace retort::detail
