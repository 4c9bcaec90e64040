// Model outputs for a whole data set, computed in batches.
#pragma once

#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>
#include <vector>

#include "retort/framework/data/dataset.hpp"
#include "retort/framework/data/transforms.hpp"
#include "retort/framework/nn/module.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Options of predict().
struct PredictOptions {
  std::int64_t batch_size = 1024;  ///< rows per call of the model; bounds the memory of hidden layers
  /// Applied to each batch before the model is called, as by a DataLoader: for instance the normalisation of
  /// the training images. Random transforms draw the same numbers in every call.
  BatchTransform transform = {};
};

namespace detail {
Tensor predict_batches(const Tensor& inputs, const PredictOptions& options,
                       const std::function<Tensor(const Batch&)>& model);
Tensor predict_batches(const RowSource& source, const PredictOptions& options,
                       const std::function<Tensor(const Batch&)>& model);

/// Puts a module into evaluation mode and restores the previous mode of each submodule.
class EvaluationMode {
 public:
  explicit EvaluationMode(Module& module);
  ~EvaluationMode();
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;

 private:
  void remember(Module& module);
  std::vector<std::pair<Module*, bool>> modes_ = {};  // parents before their submodules
};

template <class Model, class Rows>
Tensor predict_by(Model& model, const Rows& rows, const PredictOptions& options) {
  const auto call = [&](const Batch& batch) {
    if constexpr (std::is_invocable_v<Model&, const Tensor&>)
      return model(batch.input);
    else
      return model(batch);
  };
  if constexpr (std::is_base_of_v<Module, Model> && !std::is_const_v<Model>) {
    const EvaluationMode guard(model);
    return predict_batches(rows, options, call);
  } else {
    return predict_batches(rows, options, call);
  }
}
}  // namespace detail

/// Returns model(inputs) for all rows of `inputs`, without history: calls the model with consecutive batches
/// of rows and concatenates the results. A module is put into evaluation mode (no dropout, running statistics
/// unchanged), and then each submodule is returned to its previous mode. A const module is called in its
/// current mode.
///
/// Shapes: inputs [N, …], result [N, …]: the model must return one row per input row.
/// Edge cases: without rows the model is called once with an empty batch.
/// Throws: ValueError if batch_size < 1; ShapeError if inputs are 0-dimensional or the transform or the model
/// returns a different number of rows; exceptions of both.
template <class Model>
[[nodiscard]] Tensor predict(Model& model, const Tensor& inputs, const PredictOptions& options = {}) {
  return detail::predict_by(model, inputs, options);
}
/// predict() for all rows of a source, in order, such as a part returned by split() or a SequenceDataset. The
/// rows are fetched in batches, and the transform receives all tensors of a batch. A model that cannot be
/// called with a Tensor is called with the Batch, for instance to use its lengths.
template <class Model>
[[nodiscard]] Tensor predict(Model& model, const RowSource& source, const PredictOptions& options = {}) {
  return detail::predict_by(model, source, options);
}
/// predict() for all rows of a data set.
template <class Model>
[[nodiscard]] Tensor predict(Model& model, const Dataset& data, const PredictOptions& options = {}) {
  if constexpr (std::is_invocable_v<Model&, const Tensor&>)
    if (!options.transform) return predict(model, data.inputs(), options);
  return predict(model, static_cast<const RowSource&>(data), options);
}

}  // namespace retort
