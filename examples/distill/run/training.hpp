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

/// The loss of a batch from its logits [B, classes] and the rows of the examples that are in it, int64 [B].
using Loss = std::function<retort::Tensor(const retort::Tensor& logits, const retort::Tensor& rows)>;

/// Cross-entropy with the labels.
Loss label_loss(const Examples& examples);

/// alpha·T²·KL(teacher ‖ student), both softened by the temperature T, plus (1 - alpha)·cross-entropy:
/// Hinton, Vinyals and Dean (2015). Composed of KLDivLoss and CrossEntropyLoss; with `fused` it is
/// DistillationLoss, the same, as it is for other divergences and with `standardize`. A sparse teacher has
/// SparseDistillationLoss at the temperature that it was stored with.
Loss distillation_loss(const Examples& examples, const retort::DistillationLossOptions& options, bool fused);

/// Trains the model on images [n, pixels], and leaves it in evaluation mode. ValueError when the loss stops
/// being a number; and what the observer throws.
void train(Mlp& model, const retort::Tensor& images, const Loss& loss, const Training& training,
           Observer& observer);

/// 784-1200-1200-10 for Fashion-MNIST, trained on all the examples.
Mlp train_teacher(const Examples& examples, const Data& data, const Options& options, Observer& observer);

enum class Way { alone, distilled };
/// "alone" or "distilled".
std::string name(Way way);

/// 784-128-10 for Fashion-MNIST. The seed decides its first weights and its batches, so that the two ways of
/// training it start from the same network and see the same images in the same order.
Mlp train_student(Way way, const Recipe& recipe, const Examples& examples, const Data& data,
                  const Options& options, std::uint64_t seed, Observer& observer);

/// The logits of all images, in evaluation mode and without history.
retort::Tensor logits_of(const Mlp& model, const retort::Tensor& images);

}  // namespace distill
