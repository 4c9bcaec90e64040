#include "distill/run/training.hpp"

#include <cmath>
#include <optional>
#include <retort/retort.hpp>

namespace distill {

namespace rt = retort;
using rt::message;
using rt::Tensor;

Loss label_loss(const Examples& examples) {
  const rt::CrossEntropyLoss cross_entropy;
  return [=](const Tensor& logits, const Tensor& rows) {
    return cross_entropy(logits, rt::index_select(examples.labels, 0, rows));
  };
}

Loss distillation_loss(const Examples& examples, const rt::DistillationLossOptions& options, bool fused) {
  const double T = options.temperature, alpha = options.alpha;
  if (examples.sparse.indices.defined()) {
    const rt::SparseDistillationLoss distill({.alpha = alpha});
    return [=](const Tensor& logits, const Tensor& rows) {
      return distill({.student = logits,
                      .teacher = rows_of(examples.sparse, rows),
                      .labels = rt::index_select(examples.labels, 0, rows)});
    };
  }
  if (fused || options.standardize || options.divergence != rt::Divergence::forward_kl) {
    const rt::DistillationLoss distill(options);
    return [=](const Tensor& logits, const Tensor& rows) {
      return distill({.student = logits,
                      .teacher = rt::index_select(examples.teacher_logits, 0, rows),
                      .labels = rt::index_select(examples.labels, 0, rows)});
    };
  }
  const rt::KLDivLoss kl({.reduction = rt::Reduction::batchmean});
  const rt::CrossEntropyLoss cross_entropy;
  return [=](const Tensor& logits, const Tensor& rows) {
    const Tensor teacher = rt::index_select(examples.teacher_logits, 0, rows);
    const Tensor soft = kl(rt::log_softmax(logits / T, 1), rt::softmax(teacher / T, 1)) * (T * T);
    if (alpha == 1) return soft;
    const Tensor hard = cross_entropy(logits, rt::index_select(examples.labels, 0, rows));
    return alpha * soft + (1 - alpha) * hard;
  };
}

void train(Mlp& model, const Tensor& images, const Loss& loss, const Training& training, Observer& observer) {
  const Recipe& recipe = training.recipe;
  rt::AdamW optimizer(model.parameters(), {.lr = recipe.lr, .weight_decay = recipe.weight_decay});
  std::optional<rt::DataParallel> parallel;
  rt::DataLoaderOptions batches = {.batch_size = training.batch_size, .shuffle = true, .seed = training.seed};
  if (training.shards > 0) {
    parallel.emplace(model, *training.world, rt::DataParallelOptions{training.shards});
    batches.shards = parallel->own_shards();
  }
  // The target of an image is its row: the loss looks up the label and the teacher's answer of this row.
  rt::DataLoader loader(rt::Dataset(images, rt::arange(images.size(0))), batches);
  const std::int64_t steps = recipe.epochs * loader.size();
  rt::CosineAnnealingLR schedule(optimizer, {.T_max = steps});

  const auto loss_of = [&](const rt::Batch& rows) { return loss(model(rows.input), rows.target); };
  const auto backward = [](const Tensor& value) {
    value.backward();
    return value.item<double>();
  };
  model.train();
  Position at = observer.begin(
      training, steps,
      {.module = &model, .optimizer = &optimizer, .schedulers = {&schedule}, .loader = &loader});
  for (; at.epoch <= recipe.epochs; ++at.epoch, at.total = 0) {
    for (const rt::Batch& batch : loader) {
      optimizer.zero_grad();
      const double value = parallel ? parallel->backward(batch, loss_of) : backward(loss_of(batch));
      optimizer.step();
      schedule.step();
      ++at.step;
      at.total += value * static_cast<double>(batch.rows.size());
      observer.step(at, value);
    }
    const double mean = at.total / static_cast<double>(images.size(0));
    if (!std::isfinite(mean))
      throw rt::ValueError(
          message("training of the {} diverged in epoch {}: its loss is {}; try a lower learning rate "
                  "than {}",
                  training.title(), at.epoch, mean, recipe.lr));
    model.eval();
    observer.epoch(at, mean, model);
    model.train();
  }
  model.eval();
}

Mlp train_teacher(const Examples& examples, const Data& data, const Options& options, Observer& observer) {
  const auto seed = static_cast<std::uint64_t>(options.seed);
  rt::manual_seed(seed);
  Mlp teacher({data.pixels, options.teacher_width, options.teacher_width, data.classes},
              options.teacher.dropout);
  train(teacher, examples.images, label_loss(examples),
        {"teacher", options.teacher, options.batch_size, seed, options.shards, options.world}, observer);
  return teacher;
}

std::string name(Way way) { return way == Way::alone ? "alone" : "distilled"; }

Mlp train_student(Way way, const Recipe& recipe, const Examples& examples, const Data& data,
                  const Options& options, std::uint64_t seed, Observer& observer) {
  rt::manual_seed(seed);
  Mlp student({data.pixels, options.student_width, data.classes}, recipe.dropout);
  const Loss loss = way == Way::alone ? label_loss(examples)
                                      : distillation_loss(examples, loss_options(options), options.fused);
  train(student, examples.images, loss,
        {name(way), recipe, options.batch_size, seed, options.shards, options.world}, observer);
  return student;
}

Tensor logits_of(const Mlp& model, const Tensor& images) {
  return rt::predict(model, images, {.batch_size = 2048});
}

}  // namespace distill
