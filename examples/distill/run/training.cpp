#include "distill/run/training.hpp"

#include <cmath>
#include <optional>

#include "distill/run/run.hpp"

namespace distill {

namespace rt = retort;
using rt::Tensor;

namespace {

/// Makes a network of these sizes, trains it and returns it in evaluation mode.
Mlp trained(const std::vector<std::int64_t>& sizes, const rt::Dataset& examples, const Loss& loss,
            const Training& training, const Options& options, Run* run) {
  const Recipe& recipe = training.recipe;
  rt::manual_seed(training.seed);
  Mlp model(sizes, recipe.dropout);
  rt::AdamW optimizer(model.parameters(), {.lr = recipe.lr, .weight_decay = recipe.weight_decay});
  std::optional<rt::DataParallel> parallel;
  rt::DataLoaderOptions batches = {.batch_size = options.batch_size, .shuffle = true, .seed = training.seed};
  if (options.shards > 0) {
    parallel.emplace(model, *options.world, rt::DataParallelOptions{options.shards});
    batches.shards = parallel->own_shards();
  }
  rt::DataLoader loader(examples, batches);
  rt::CosineAnnealingLR schedule(optimizer, {.T_max = recipe.epochs * loader.size()});
  const auto loss_of = [&](const rt::Batch& batch) { return loss(model(batch.input), batch); };
  const auto backward = [](const Tensor& value) {
    value.backward();
    return value.item<double>();
  };

  model.train();
  Position at;
  if (run)
    at = run->begin(
        training, {.module = &model, .optimizer = &optimizer, .schedulers = {&schedule}, .loader = &loader});
  rt::Progress progress(
      training.title(),
      {.epochs = recipe.epochs, .steps = loader.size(), .done = at.step, .quiet = options.silent()});
  for (; at.epoch <= recipe.epochs; ++at.epoch, at.total = 0) {
    for (const rt::Batch& batch : loader) {
      optimizer.zero_grad();
      const double value = parallel ? parallel->backward(batch, loss_of) : backward(loss_of(batch));
      optimizer.step();
      schedule.step();
      ++at.step;
      at.total += value * static_cast<double>(batch.rows.size());
      progress.step(value);
      if (run) run->step(at, value);
    }
    const double mean = at.total / static_cast<double>(examples.size());
    if (!std::isfinite(mean))
      throw rt::ValueError(
          rt::message("training of the {} diverged in epoch {}: its loss is {}; try a lower learning rate "
                      "than {}{}",
                      training.title(), at.epoch, mean, recipe.lr,
                      at.epoch == 1 ? ", and look for NaN or infinity in the data" : ""));
    model.eval();
    if (run) run->epoch(at, mean, model);
    progress.epoch(mean);
    model.train();
  }
  model.eval();
  return model;
}

Tensor label_loss(const Tensor& logits, const rt::Batch& batch) {
  return rt::cross_entropy(logits, batch.target);
}

}  // namespace

Tensor distillation_loss(const Tensor& logits, const rt::Batch& batch,
                         const rt::DistillationLossOptions& options, bool fused) {
  const double T = options.temperature, alpha = options.alpha;
  if (batch.contains("indices")) {
    const rt::SparseTeacher teacher = {batch["indices"], batch["log_probs"], batch["log_tail"],
                                       logits.size(1), T};
    return rt::sparse_distillation_loss({.student = logits, .teacher = teacher, .labels = batch.target},
                                        {.alpha = alpha});
  }
  if (fused || options.standardize || options.divergence != rt::Divergence::forward_kl)
    return rt::distillation_loss({.student = logits, .teacher = batch["teacher"], .labels = batch.target},
                                 options);
  const Tensor soft = rt::kl_div(rt::log_softmax(logits / T, 1), rt::softmax(batch["teacher"] / T, 1),
                                 {.reduction = rt::Reduction::batchmean}) *
                      (T * T);
  return alpha == 1 ? soft : alpha * soft + (1 - alpha) * label_loss(logits, batch);
}

Mlp train_teacher(const rt::Dataset& examples, const Data& data, const Options& options, Run* run) {
  return trained({data.pixels, options.teacher_width, options.teacher_width, data.classes}, examples,
                 label_loss, {"teacher", options.teacher, static_cast<std::uint64_t>(options.seed)}, options,
                 run);
}

std::string name(Way way) { return way == Way::alone ? "alone" : "distilled"; }

Mlp train_student(Way way, const Recipe& recipe, const rt::Dataset& examples, const Data& data,
                  const Options& options, std::uint64_t seed, Run* run) {
  const auto distillation = [&](const Tensor& logits, const rt::Batch& batch) {
    return distillation_loss(logits, batch, loss_options(options), options.fused);
  };
  return trained({data.pixels, options.student_width, data.classes}, examples,
                 way == Way::alone ? Loss(label_loss) : Loss(distillation), {name(way), recipe, seed},
                 options, run);
}

}  // namespace distill
