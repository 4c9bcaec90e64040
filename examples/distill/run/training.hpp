// The networks, their losses, their training and their metrics.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <retort/retort.hpp>
#include <string>
#include <vector>

#include "distill/cli/options.hpp"
#include "distill/run/data.hpp"

namespace distill {

class Run;

/// The three metrics in the results.
struct Metrics {
  double accuracy = 0;
  double nll = 0;
  double ece = 0;
};
/// The metrics of a network whose answers are not known.
constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
constexpr Metrics unknown_metrics = {unknown, unknown, unknown};

/// The number at a key of an object. NaN if it is absent or null: JSON stores NaN and infinity as null.
template <class Json>
double number_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? unknown : found->template get<double>();
}
template <class Json>
void from_json(const Json& json, Metrics& metrics) {
  metrics = {number_in(json, "accuracy"), number_in(json, "nll"), number_in(json, "ece")};
}
template <class Json>
void to_json(Json& json, const Metrics& metrics) {
  json = {{"accuracy", metrics.accuracy}, {"nll", metrics.nll}, {"ece", metrics.ece}};
}

/// A share as a percentage with that many decimals, such as "12.34 %".
inline std::string percent(double share, int digits = 2) { return retort::fixed(100 * share, digits) + " %"; }

/// The network of teacher and students, with ReLU and dropout between its linear layers. Maps images
/// [N, sizes.front()] to logits [N, sizes.back()].
class Mlp : public retort::Module {
 public:
  Mlp(const std::vector<std::int64_t>& sizes, double drop) : dropout(drop) {
    for (std::size_t i = 1; i < sizes.size(); ++i) layers.emplace_back(sizes[i - 1], sizes[i]);
  }

  retort::Tensor operator()(const retort::Tensor& images) const {
    retort::Tensor x = layers.front()(images);
    for (std::size_t i = 1; i < layers.size(); ++i) x = layers[i](dropout(retort::relu(x)));
    return x;
  }

  std::vector<retort::Linear> layers;
  retort::Dropout dropout;
  RETORT_MEMBERS(layers, dropout)
};

/// The logits of all images, without history. The network must be in evaluation mode.
inline retort::Tensor logits_of(const Mlp& network, const retort::Tensor& images) {
  return retort::predict(network, images, {.batch_size = 2048});
}
inline Metrics measure(const retort::Tensor& logits, const retort::Tensor& labels) {
  return {retort::metrics::accuracy(logits, labels), retort::metrics::nll(logits, labels),
          retort::metrics::ece(logits, labels)};
}
inline Metrics measure(const Mlp& network, const retort::Dataset& data) {
  return measure(logits_of(network, data.inputs()), data.targets());
}

/// Computes the loss of a batch from the network's logits [B, classes].
using Loss = std::function<retort::Tensor(const retort::Tensor& logits, const retort::Batch& batch)>;

/// alpha·T²·KL(teacher ‖ student) + (1 - alpha)·cross-entropy, with teacher and student softened by the
/// temperature T in the first term (Hinton, Vinyals and Dean 2015). Composed of kl_div and cross_entropy.
/// DistillationLoss computes it if `fused`, for other divergences, and with `standardize`.
/// SparseDistillationLoss computes it for a sparse teacher.
retort::Tensor distillation_loss(const retort::Tensor& logits, const retort::Batch& batch,
                                 const retort::DistillationLossOptions& options, bool fused);

/// The training of one network.
struct Training {
  std::string network = {};  ///< "teacher", "alone" or "distilled"
  Recipe recipe = {};
  std::uint64_t seed = 0;  ///< seed of the initial weights and of the order of the batches

  /// The displayed name, such as "teacher" or "student 3 alone".
  std::string title() const {
    return network == "teacher" ? network : "student " + std::to_string(seed) + ' ' + network;
  }
};

/// Trains a teacher on all examples. By default it is 784-1200-1200-10 for Fashion-MNIST. `run`, if given,
/// logs the training and saves and restores its state.
/// Throws: ValueError if the mean loss of an epoch is not finite; also the exceptions of the run.
Mlp train_teacher(const retort::Dataset& examples, const Data& data, const Options& options, Run* run);

enum class Way { alone, distilled };
/// The name: "alone" or "distilled".
std::string name(Way way);

/// Trains a student, as train_teacher(). By default it is 784-128-10 for Fashion-MNIST. Both ways start from
/// the same weights and use the same images in the same order, which the seed determines.
Mlp train_student(Way way, const Recipe& recipe, const retort::Dataset& examples, const Data& data,
                  const Options& options, std::uint64_t seed, Run* run);

}  // namespace distill
