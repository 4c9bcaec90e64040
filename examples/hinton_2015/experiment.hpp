// The network, its training and the correction of biases.
#pragma once

#include <cmath>

#include "common/images.hpp"

namespace hinton {

namespace rt = retort;
using rt::Tensor;
using Classes = std::vector<std::int64_t>;

/// Two hidden layers of one width. The large network drops some pixels and half of the hidden units.
class Mlp : public rt::Module {
 public:
  Mlp(std::int64_t pixels, std::int64_t width, std::int64_t classes, bool regularised)
      : drop_pixels(regularised ? 0.2 : 0),
        drop_units(regularised ? 0.5 : 0),
        first(pixels, width),
        second(width, width),
        last(width, classes) {}
  Tensor operator()(const Tensor& x) const {
    const Tensor hidden = drop_units(rt::relu(first(drop_pixels(x))));
    return last(drop_units(rt::relu(second(hidden))));
  }

  rt::Dropout drop_pixels, drop_units;
  rt::Linear first, second, last;
  RETORT_MEMBERS(drop_pixels, drop_units, first, second, last)
};

struct Recipe {
  std::int64_t epochs = 1;
  double lr = 1e-3;         ///< the highest; it rises in the first twentieth of the steps and then falls to 0
  double max_norm = 0;      ///< of the weights that go into a hidden unit; 0: unlimited
  std::int64_t jitter = 0;  ///< pixels by which images are moved at most
  std::uint64_t seed = 0;
};

/// Scales the weights that go into a unit down to an L2 norm of `most` where they exceed it.
inline void limit_norms(const Mlp& model, double most) {
  const rt::NoGradGuard no_grad;
  for (Tensor weight : {model.first.weight, model.second.weight}) {
    const Tensor limited = weight * rt::clamp(most / rt::norm(weight, 2, {1}, true), {}, 1.0);
    std::ranges::copy(limited.data<float>(), weight.mutable_data<float>().begin());
  }
}

/// Trains with Adam. The run's files are named after `name`.
inline void train(const rt::RunFolder& run, const std::string& name, Mlp& model, const rt::Dataset& data,
                  const Recipe& recipe, const example::Options& options,
                  const std::function<Tensor(const Tensor& logits, const rt::Batch& batch)>& loss) {
  rt::AdamW optimizer(model.parameters(), {.lr = recipe.lr, .weight_decay = 0});
  const rt::BatchTransform jitter =
      recipe.jitter > 0 ? rt::random_shift(recipe.jitter) : rt::BatchTransform();
  rt::DataLoader loader(data, {.batch_size = 128, .shuffle = true, .seed = recipe.seed, .transform = jitter});
  const std::int64_t steps = recipe.epochs * loader.size();
  rt::LRScheduler schedule = rt::warmup_cosine(optimizer, {.warmup_steps = steps / 20, .total_steps = steps});
  rt::Training training(
      run, name, {.module = &model, .optimizer = &optimizer, .schedulers = {&schedule}, .loader = &loader},
      options.training(recipe.epochs, 0, loader.size()));
  while (!training.done())
    for (const rt::Batch& batch : loader) {
      if (recipe.max_norm > 0) limit_norms(model, recipe.max_norm);
      training.learn(loss(model(batch.input), batch));
    }
}

inline bool contains(const Classes& classes, std::int64_t label) {
  return std::ranges::count(classes, label);
}

/// The rows whose label is among the classes, or is not.
inline rt::Dataset with_classes(const rt::Dataset& data, const Classes& classes, bool among) {
  Classes rows;
  const auto labels = data.targets().data<std::int64_t>();
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (contains(classes, labels[i]) == among) rows.push_back(static_cast<std::int64_t>(i));
  return data.subset(rows);
}

/// The number of wrong answers, of all test images or of those of the given classes.
inline double errors(const Tensor& logits, const Tensor& labels, const Classes& classes = {}) {
  const std::vector<std::int64_t> answers = rt::argmax(logits, 1).values<std::int64_t>();
  const auto truth = labels.data<std::int64_t>();
  double count = 0;
  for (std::size_t i = 0; i < truth.size(); ++i)
    count += answers[i] != truth[i] && (classes.empty() || contains(classes, truth[i]));
  return count;
}

/// `logits` with b added for these classes.
inline Tensor with_bias(const Tensor& logits, const Classes& classes, double b) {
  std::vector<float> bias(static_cast<std::size_t>(logits.size(1)));
  for (const std::int64_t k : classes) bias.at(static_cast<std::size_t>(k)) = static_cast<float>(b);
  return logits + rt::tensor(bias);
}

/// The b with the fewest test errors, as in the paper: it is chosen with the test labels.
inline double bias_by_test_errors(const Tensor& logits, const Tensor& labels, const Classes& classes) {
  const auto wrong = [&](double b) { return errors(with_bias(logits, classes, b), labels); };
  double best = 0;
  for (double b = -15; b <= 15; b += 0.1)
    if (wrong(b) < wrong(best)) best = b;
  return best;
}

/// The b at which these classes get, on average over the test images, the probability that is their share of
/// the training labels. No test label is used.
inline double bias_by_mass(const Tensor& logits, const Tensor& training_labels, const Classes& classes) {
  const auto labels = training_labels.data<std::int64_t>();
  const auto known = std::ranges::count_if(labels, [&](std::int64_t k) { return contains(classes, k); });
  const double share = static_cast<double>(known) / static_cast<double>(labels.size());
  double low = -30, high = 30;
  while (high - low > 1e-3) {
    const double b = (low + high) / 2;
    const Tensor mean = rt::mean(rt::softmax(with_bias(logits, classes, b), 1), {0});
    (rt::sum(rt::index_select(mean, 0, rt::tensor(classes))).item<double>() < share ? low : high) = b;
  }
  return (low + high) / 2;
}

}  // namespace hinton
