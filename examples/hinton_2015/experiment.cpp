#include "hinton_2015/experiment.hpp"

#include <algorithm>
#include <cmath>

namespace hinton {

namespace rt = retort;

namespace {

/// Scales the weights that go into a unit down to an L2 norm of `most` where they exceed it.
void limit_norms(const Mlp& model, double most) {
  for (Tensor weight : {model.first.weight, model.second.weight}) {
    const std::vector<double> norms =
        rt::no_grad([&] { return rt::norm(weight, 2, {1}); }).to(rt::DType::float64).values<double>();
    const std::span<float> values = weight.mutable_data<float>();
    const auto inputs = static_cast<std::size_t>(weight.size(1));
    for (std::size_t unit = 0; unit < norms.size(); ++unit)
      if (norms[unit] > most)
        for (float& value : values.subspan(unit * inputs, inputs))
          value *= static_cast<float>(most / norms[unit]);
  }
}

bool contains(const std::vector<std::int64_t>& classes, std::int64_t label) {
  return std::ranges::count(classes, label) > 0;
}

}  // namespace

void train(const rt::RunFolder& run, const std::string& name, Mlp& model, const rt::Dataset& data,
           const Recipe& recipe, const Loss& loss, const Options& options) {
  rt::SGD momentum(model.parameters(), {.lr = recipe.lr, .momentum = 0.9, .nesterov = true});
  rt::AdamW adam(model.parameters(), {.lr = recipe.lr, .weight_decay = 0});
  rt::Optimizer& optimizer = recipe.adam ? static_cast<rt::Optimizer&>(adam) : momentum;
  const rt::BatchTransform jitter =
      recipe.jitter > 0 ? rt::random_shift(recipe.jitter) : rt::BatchTransform();
  rt::DataLoader loader(data, {.batch_size = 100, .shuffle = true, .seed = recipe.seed, .transform = jitter});
  const std::int64_t steps = recipe.epochs * loader.size();
  rt::LRScheduler schedule = rt::warmup_cosine(optimizer, {.warmup_steps = steps / 10, .total_steps = steps});
  rt::Training training(
      run, name, {.module = &model, .optimizer = &optimizer, .schedulers = {&schedule}, .loader = &loader},
      {.epochs = recipe.epochs, .log_every = loader.size(), .checkpoint_every = options.checkpoint_every});
  while (!training.done())
    for (const rt::Batch& batch : loader) {
      const Tensor value = loss(model(batch.input), batch);
      optimizer.zero_grad();
      value.backward();
      optimizer.step();
      schedule.step();
      if (recipe.max_norm > 0) limit_norms(model, recipe.max_norm);
      training.step(value.item<double>());
    }
}

rt::Dataset with_classes(const rt::Dataset& data, const std::vector<std::int64_t>& classes, bool among) {
  std::vector<std::int64_t> rows;
  const auto labels = data.targets().data<std::int64_t>();
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (contains(classes, labels[i]) == among) rows.push_back(static_cast<std::int64_t>(i));
  return data.subset(rows);
}

std::int64_t errors(const Tensor& logits, const Tensor& labels, const std::vector<std::int64_t>& classes) {
  const std::vector<std::int64_t> answers = rt::argmax(logits, 1).values<std::int64_t>();
  const auto truth = labels.data<std::int64_t>();
  std::int64_t count = 0;
  for (std::size_t i = 0; i < truth.size(); ++i)
    count += answers[i] != truth[i] && (classes.empty() || contains(classes, truth[i]));
  return count;
}

Tensor with_bias(const Tensor& logits, const std::vector<std::int64_t>& classes, double b) {
  std::vector<float> bias(static_cast<std::size_t>(logits.size(1)));
  for (const std::int64_t k : classes) bias.at(static_cast<std::size_t>(k)) = static_cast<float>(b);
  return logits + rt::tensor(bias);
}

double bias_by_test_errors(const Tensor& logits, const Tensor& labels,
                           const std::vector<std::int64_t>& classes) {
  double best = 0;
  std::int64_t fewest = errors(logits, labels);
  for (double b = -15; b <= 15; b += 0.1)
    if (const std::int64_t now = errors(with_bias(logits, classes, b), labels); now < fewest) {
      fewest = now;
      best = b;
    }
  return best;
}

double bias_by_mass(const Tensor& logits, const Tensor& training_labels,
                    const std::vector<std::int64_t>& classes) {
  double share = 0, low = -30, high = 30;
  for (const std::int64_t label : training_labels.data<std::int64_t>()) share += contains(classes, label);
  share /= static_cast<double>(training_labels.size());
  while (high - low > 1e-3) {
    const double b = (low + high) / 2;
    const Tensor mean = rt::mean(rt::softmax(with_bias(logits, classes, b), 1), {0});
    double mass = 0;
    for (const std::int64_t k : classes)
      mass += static_cast<double>(mean.data<float>()[static_cast<std::size_t>(k)]);
    (mass < share ? low : high) = b;
  }
  return (low + high) / 2;
}

}  // namespace hinton
