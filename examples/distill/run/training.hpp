// The training loop of teacher and students, and their losses.
#pragma once

#include <cstdint>
#include <functional>
#include <retort/framework/core/tensor.hpp>
#include <string>

#include "distill/cli/options.hpp"
#include "distill/run/data.hpp"
#include "distill/run/mlp.hpp"
#include "distill/run/observer.hpp"

namespace distill {

/// Computes the loss of a batch from its logits [B, classes] and the rows of its examples, int64 [B].
using Loss = std::function<retort::Tensor(const retort::Tensor& logits, const retort::Tensor& rows)>;

/// Cross-entropy with the labels.
Loss label_loss(const Examples& examples);

/// alpha·T²·KL(teacher ‖ student) + (1 - alpha)·cross-entropy, with teacher and student softened by the
/// temperature T in the first term (Hinton, Vinyals and Dean 2015). Composed of KLDivLoss and
/// CrossEntropyLoss. DistillationLoss computes it if `fused`, for other divergences, and with `standardize`.
/// SparseDistillationLoss computes it for a sparse teacher, at the temperature of the stored answers.
Loss distillation_loss(const Examples& examples, const retort::DistillationLossOptions& options, bool fused);

/// Trains the model on images [n, pixels] and leaves it in evaluation mode.
/// Throws: ValueError if the mean loss of an epoch is not finite; also the exceptions of the observer.
void train(Mlp& model, const retort::Tensor& images, const Loss& loss, const Training& training,
           Observer& observer);

/// Trains a teacher on all examples. By default it is 784-1200-1200-10 for Fashion-MNIST.
Mlp train_teacher(const Examples& examples, const Data& data, const Options& options, Observer& observer);

enum class Way { alone, distilled };
/// The name: "alone" or "distilled".
std::string name(Way way);

/// Trains a student. By default it is 784-128-10 for Fashion-MNIST. The seed determines its initial weights
/// and its batches: both ways start from the same weights and use the same images in the same order.
Mlp train_student(Way way, const Recipe& recipe, const Examples& examples, const Data& data,
                  const Options& options, std::uint64_t seed, Observer& observer);

/// The logits of all images, in evaluation mode and without history.
retort::Tensor logits_of(const Mlp& model, const retort::Tensor& images);

}  // namespace distill
