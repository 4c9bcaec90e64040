// A small training run in which all that a checkpoint keeps plays a part.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "retort/retort.hpp"

namespace retort::tests {

inline std::string bytes_of(const StateDict& state) {
  std::string bytes;
  for (const auto& [name, tensor] : state) {
    bytes += message("{} {} {} ", name, tensor.dtype(), tensor.shape());
    bytes.append(static_cast<const char*>(retort::detail::Access::array(tensor).read()),
                 retort::detail::Access::array(tensor).byte_size());
  }
  return bytes;
}

/// A stream of 35 examples, which are computed when they are asked for.
class Stream : public RowSource {
 public:
  std::int64_t size() const override { return 35; }
  Batch fetch(std::span<const std::int64_t> rows) const override {
    const Tensor at = tensor(std::vector<std::int64_t>(rows.begin(), rows.end()));
    const auto column = [&](double factor) {
      return reshape(tanh(at.to(DType::float32) * (factor / 20) - 1.0), {-1, 1});
    };
    return {.input = concat({column(1), column(2), column(3)}, 1), .target = at};
  }
};

/// Dropout and noise on the inputs draw from a generator of the run's own; the order of the batches and their
/// random scales come from the loader's seed. Two threads prepare three batches ahead. The rates of two
/// parameter groups follow two chained schedules and a plateau, the weights are averaged, and early stopping
/// watches the loss. Nine steps make an epoch.
struct TrainingRun {
  explicit TrainingRun(std::uint64_t seed = 1)
      : model(network(seed)),
        optimizer(groups(model)),
        warmup(optimizer, {.warmup_steps = 5}),
        cosine(optimizer, {.T_max = 40}),
        plateau(optimizer, {.patience = 3}),
        average(model, {.decay = 0.9}),
        stop({.patience = 4, .min_delta = 1e-3}),
        noise(seed + 7),
        loader(Stream(), {.batch_size = 4,
                          .shuffle = true,
                          .seed = seed,
                          .transform = scaled,
                          .prefetch = 3,
                          .num_workers = 2}) {}

  static Sequential network(std::uint64_t seed) {
    manual_seed(seed);
    return Sequential(Linear(3, 8), ReLU(), Dropout(0.5), Linear(8, 2));
  }
  /// The weights decay, the biases learn at a lower rate.
  static std::vector<ParameterGroup<AdamOptions>> groups(const Module& model) {
    auto [decayed, others] = decay_groups(model);
    return {{decayed, {.lr = 0.05, .weight_decay = 0.01, .amsgrad = true}}, {others, {.lr = 0.02}}};
  }
  static Batch scaled(Batch batch, Generator& generator) {
    batch.input = batch.input * (0.9 + 0.2 * generator.uniform());
    return batch;
  }

  CheckpointParts parts() {
    return {.module = &model,
            .optimizer = &optimizer,
            .schedulers = {&warmup, &cosine, &plateau},
            .generator = &noise,
            .loader = &loader,
            .average = &average,
            .early_stopping = &stop};
  }

  /// Trains up to step `end`; `after` is called after each, within the pass over the loader.
  void train(std::int64_t end, const std::function<void()>& after = {}) {
    const GeneratorGuard guard(noise);
    while (step < end)
      for (const Batch& batch : loader) {
        const Tensor noisy = batch.input + noise.uniform() * 0.1;
        const Tensor target = batch.target.to(DType::float32) / 35.0;
        const Tensor loss = mean(pow(sum(model(noisy), 1) - target, 2));
        optimizer.zero_grad();
        loss.backward();
        optimizer.step();
        warmup.step();
        cosine.step();
        average.update();
        if (++step % 4 == 0) {
          plateau.step(loss.item<double>());
          stops += stop.step(loss.item<double>());
        }
        rows += message("{} ", batch.target.values<std::int64_t>().front());
        if (after) after();
        if (step == end) break;
      }
  }

  /// Everything that the rest of the run depends on, and what it went through: the first row of each batch.
  std::string state() const {
    return bytes_of(model.state_dict()) + bytes_of(optimizer.state_dict()) + bytes_of(warmup.state_dict()) +
           bytes_of(cosine.state_dict()) + bytes_of(plateau.state_dict()) + bytes_of(average.state_dict()) +
           bytes_of(stop.state_dict()) +
           message("default {} {} own {} {} epoch {} batch {} rows {}", std::size_t{generator_state().seed()},
                   std::size_t{generator_state().position()}, std::size_t{noise.seed()},
                   std::size_t{noise.position()}, loader.position().epoch, loader.position().batch, rows);
  }

  std::string json() const { return "{\"rows\":\"" + rows + "\"}"; }
  std::string save(Checkpoint& checkpoint, bool best = false) const {
    return checkpoint.save(step, json(), best);
  }
  /// Takes over what load() returned.
  void resume(const Checkpoint::Loaded& loaded) {
    step = loaded.step;
    const std::size_t begin = loaded.json.find(":\"") + 2;
    rows = loaded.json.substr(begin, loaded.json.rfind('"') - begin);
  }

  Sequential model;
  Adam optimizer;
  LinearWarmup warmup;
  CosineAnnealingLR cosine;
  ReduceLROnPlateau plateau;
  ExponentialMovingAverage average;
  EarlyStopping stop;
  Generator noise;
  DataLoader loader;
  std::int64_t step = 0;
  std::int64_t stops = 0;  // how often the run would have been stopped, in this process
  std::string rows = {};
};

}  // namespace retort::tests
