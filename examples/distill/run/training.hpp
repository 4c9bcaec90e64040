// The networks, their losses and their training.
#pragma once

#include <cstdint>
#include <functional>
#include <retort/retort.hpp>
#include <string>
#include <vector>

#include "distill/cli/options.hpp"
#include "distill/run/data.hpp"
#include "distill/run/metrics.hpp"

namespace distill {

class Run;

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
