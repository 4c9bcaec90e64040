// The network, its training and the bias correction.
#pragma once

#include <cmath>

#include "common/images.hpp"

namespace hinton {

namespace rt = retort;
using rt::Tensor;
using Classes = std::vector<std::int64_t>;

/// Shares of the pixels and hidden units that the teacher drops. They are smaller than in the paper, which
/// trained for longer.
constexpr double dropped_pixels = 0.1, dropped_units = 0.3;

/// A network with two hidden layers of the same width, with dropout if `regularised`.
class Mlp : public rt::Module {
 public:
  Mlp(std::int64_t pixels, std::int64_t width, std::int64_t classes, bool regularised)
      : drop_pixels(regularised ? dropped_pixels : 0),
        drop_units(regularised ? dropped_units : 0),
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
  std::int64_t epochs = 1, batch_size = 64;
  double lr = 0.1;  ///< maximum; the rate rises in the first tenth of the steps and then decays to 0
  double clip = 1;  ///< limit of the norm of all gradients; large logits at T = 20 make some steps too long
  bool adam = false;
  double max_norm = 0;      ///< limit of the norm of a hidden unit's incoming weights; 0: none
  std::int64_t jitter = 0;  ///< maximum shift of the images in pixels
  std::uint64_t seed = 0;
};

/// Scales the incoming weights of a hidden unit down to the L2 norm `most` if they exceed it.
inline void limit_norms(const Mlp& model, double most) {
  const rt::NoGradGuard no_grad;
  for (Tensor weight : {model.first.weight, model.second.weight}) {
    const Tensor limited = weight * rt::clamp(most / rt::norm(weight, 2, {1}, true), {}, 1.0);
    std::ranges::copy(limited.data<float>(), weight.mutable_data<float>().begin());
  }
}

/// Trains with Nesterov's momentum or with Adam, which suits dropout. `name` begins the names of the run's
/// files.
inline void train(const rt::RunFolder& run, const std::string& name, Mlp& model, const rt::Dataset& data,
                  const Recipe& recipe, const example::Options& options, const example::Loss& loss) {
  rt::SGD momentum(model.parameters(), {.lr = recipe.lr, .momentum = 0.9, .nesterov = true});
  rt::AdamW adam(model.parameters(), {.lr = recipe.lr, .weight_decay = 0});
  rt::Optimizer& optimizer = recipe.adam ? static_cast<rt::Optimizer&>(adam) : momentum;
  const rt::BatchTransform jitter =
      recipe.jitter > 0 ? rt::random_shift(recipe.jitter) : rt::BatchTransform();
  rt::DataLoader loader(data, {.batch_size = recipe.batch_size,
                               .shuffle = true,
                               .seed = recipe.seed,
                               .transform = jitter,
                               .shards = rt::own_shards(*options.world, options.shards)});
  const std::int64_t steps = recipe.epochs * loader.size();
  rt::LRScheduler schedule = rt::warmup_cosine(optimizer, {.warmup_steps = steps / 10, .total_steps = steps});
  rt::Training training(
      run, name, {.module = &model, .optimizer = &optimizer, .schedulers = {&schedule}, .loader = &loader},
      options.training(recipe.epochs, recipe.clip, loader.size()));
  while (!training.done())
    for (const rt::Batch& batch : loader) {
      if (recipe.max_norm > 0) limit_norms(model, recipe.max_norm);
      training.learn(batch, [&](const rt::Batch& part) { return loss(model(part.input), part); });
    }
}

inline bool contains(const Classes& classes, std::int64_t label) {
  return std::ranges::count(classes, label);
}

/// The rows whose label is in `classes` if `among` is true, else the other rows.
inline rt::Dataset with_classes(const rt::Dataset& data, const Classes& classes, bool among) {
  Classes rows;
  const auto labels = data.targets().data<std::int64_t>();
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (contains(classes, labels[i]) == among) rows.push_back(static_cast<std::int64_t>(i));
  return data.subset(rows);
}

/// The number of wrong answers, for all test images or for those of the given classes.
inline double errors(const Tensor& logits, const Tensor& labels, const Classes& classes = {}) {
  const std::vector<std::int64_t> answers = rt::argmax(logits, 1).values<std::int64_t>();
  const auto truth = labels.data<std::int64_t>();
  double count = 0;
  for (std::size_t i = 0; i < truth.size(); ++i)
    count += answers[i] != truth[i] && (classes.empty() || contains(classes, truth[i]));
  return count;
}

/// `logits` with b added to the columns of these classes.
inline Tensor with_bias(const Tensor& logits, const Classes& classes, double b) {
  std::vector<float> bias(logits.size(1));
  for (const std::int64_t k : classes) bias.at(k) = static_cast<float>(b);
  return logits + rt::tensor(bias);
}

/// The b with the fewest test errors, as in the paper. It uses the test labels.
inline double bias_by_test_errors(const Tensor& logits, const Tensor& labels, const Classes& classes) {
  const auto wrong = [&](double b) { return errors(with_bias(logits, classes, b), labels); };
  double best = 0;
  for (double b = -15; b <= 15; b += 0.1)
    if (wrong(b) < wrong(best)) best = b;
  return best;
}

/// The b for which the total probability of these classes, averaged over the test images, equals their share
/// of the training labels. It does not use the test labels.
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
