// Trainings in a folder: stopped anywhere, they end with the same bits.
#include "retort/framework/train/training.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <optional>

#include "framework/io/files.hpp"
#include "retort/retort.hpp"
#include "tests_support.hpp"

namespace {

namespace fs = std::filesystem;
using namespace retort;
using retort::tests::contains;
using retort::tests::read_file;
using retort::tests::TemporaryFolder;
using retort::tests::thrown_text;
using retort::tests::write_file;

/// A training of three epochs of five steps, with an average of the weights.
struct Small {
  explicit Small(const RunFolder& run, std::int64_t before = 0) : evaluations(before) {
    manual_seed(3);
    model = Sequential(Linear(2, 4), Dropout(0.5), Linear(4, 1));
    training.emplace(
        run, "small",
        CheckpointParts{
            .module = &*model, .optimizer = &optimizer(), .loader = &loader, .average = &average()},
        TrainingOptions{.epochs = 3,
                        .log_every = 2,
                        .checkpoint_every = 0,
                        .evaluate = [this]() -> JsonFields {
                          return {{"seen", ++this->evaluations}};
                        },
                        .quiet = true});
  }
  SGD& optimizer() { return sgd ? *sgd : sgd.emplace(model->parameters(), SGDOptions{.lr = 0.1}); }
  ExponentialMovingAverage& average() {
    if (!ema) ema.emplace(*model, ExponentialMovingAverageOptions{.decay = 0.5});
    return *ema;
  }
  /// Takes steps until the end, or `most` of them.
  void run(std::int64_t most = 1000) {
    while (!training->done())
      for (const Batch& batch : loader) {
        if (most-- == 0) return;
        const Tensor loss = mse_loss((*model)(batch.input), batch.target);
        optimizer().zero_grad();
        loss.backward();
        optimizer().step();
        average().update();
        training->step(loss.item<double>());
      }
  }

  std::int64_t evaluations;
  std::optional<Sequential> model = {};
  std::optional<SGD> sgd = {};
  std::optional<ExponentialMovingAverage> ema = {};
  DataLoader loader{Dataset(reshape(arange(20, DType::float32), {10, 2}) / 20.0, ones({10, 1})),
                    {.batch_size = 2, .shuffle = true, .seed = 5}};
  std::optional<Training> training = {};
};

BOOST_AUTO_TEST_SUITE(training)

BOOST_AUTO_TEST_CASE(a_training_that_was_stopped_anywhere_ends_with_the_same_bits) {
  const TemporaryFolder folder;
  const std::string whole = folder / "whole";
  {
    const RunFolder run(whole, {{"seed", 3}});
    Small small(run);
    small.run();
    BOOST_TEST(small.training->steps() == 15);
    BOOST_TEST(!small.model->is_training());
    const RunFolder::Column loss = run.column("small", "loss"), seen = run.column("small", "seen");
    BOOST_TEST(loss.epochs.size() == 8U);
    BOOST_TEST(loss.epochs.back() == 3.0);
    BOOST_TEST(seen.values == (std::vector<double>{1, 2, 3}), boost::test_tools::per_element());
    BOOST_TEST(run.column("other", "loss").values.empty());
  }
  for (const std::int64_t stop : {1, 4, 5, 6, 14}) {
    const std::string parts = folder / ("parts" + std::to_string(stop));
    for (const std::int64_t steps : {stop, std::int64_t{1000}}) {
      const RunFolder run(parts, {{"seed", 3}});
      Small small(run, steps == stop ? 0 : stop / 5);
      small.run(steps);
    }
    for (const char* name : {"/small.safetensors", "/small.jsonl", "/settings.json"})
      BOOST_TEST((read_file(parts + name) == read_file(whole + name)), name << " after " << stop);
    BOOST_TEST(!fs::exists(parts + "/small.checkpoints"));
  }
}

BOOST_AUTO_TEST_CASE(a_training_that_has_ended_loads_its_weights) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  Small first(run);
  first.run();
  Small second(run);
  BOOST_TEST(second.training->done());
  BOOST_TEST(second.training->steps() == 15);
  BOOST_TEST(second.training->seconds() == first.training->seconds());
  for (const auto& [name, value] : first.model->state_dict())
    BOOST_TEST(value.values<float>() == second.model->state_dict().at(name).values<float>(),
               boost::test_tools::per_element());
  BOOST_TEST(contains(thrown_text<ValueError>([&] { second.training->step(1); }), "all epochs are done"));
}

BOOST_AUTO_TEST_CASE(an_ended_training_has_the_number_of_steps_of_the_options) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  const auto train = [&](std::int64_t epochs, JsonFields fields) {
    Linear model(2, 1);
    SGD optimizer(model.parameters(), {.lr = 0.1});
    DataLoader loader(Dataset(ones({4, 2}), ones({4, 1})), {.batch_size = 2});
    Training training(run, "one", {.module = &model, .optimizer = &optimizer, .loader = &loader},
                      {.epochs = epochs, .evaluate = [&] { return fields; }, .quiet = true});
    while (!training.done())
      for (const Batch& batch : loader) training.learn(mse_loss(model(batch.input), batch.target));
  };
  BOOST_TEST(contains(thrown_text<ValueError>([&] { train(1, {{"step", 1}}); }), "the field \"step\""));
  train(1, {});
  BOOST_TEST(contains(thrown_text<ValueError>([&] { train(4, {}); }), "2 steps, but the options give 8"));
  Linear model(2, 1);
  DataLoader loader(Dataset(ones({4, 2}), ones({4, 1})), {.batch_size = 2});
  for (const char* name : {"settings", ".", "..", "", "a/b"})
    BOOST_TEST(
        contains(thrown_text<ValueError>([&] { Training(run, name, {.module = &model, .loader = &loader}); }),
                 "the name"));
}

BOOST_AUTO_TEST_CASE(a_name_belongs_to_one_unfinished_training) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  Linear model(2, 1);
  SGD optimizer(model.parameters(), {.lr = 0.1});
  DataLoader loader(Dataset(ones({4, 2}), ones({4, 1})), {.batch_size = 2});
  const CheckpointParts parts{.module = &model, .optimizer = &optimizer, .loader = &loader};
  std::optional<Training> first;
  first.emplace(run, "one", parts, TrainingOptions{.quiet = true});
  BOOST_TEST(contains(thrown_text<ValueError>([&] { Training(run, "one", parts, {.quiet = true}); }),
                      "an unfinished Training of this name exists"));
  const Training other(run, "two", parts, {.quiet = true});
  first.reset();
  Training again(run, "one", parts, {.quiet = true});
  for (const Batch& batch : loader) again.learn(mse_loss(model(batch.input), batch.target));
  BOOST_TEST(again.done());
  BOOST_TEST(Training(run, "one", parts, {.quiet = true}).done());
}

BOOST_AUTO_TEST_CASE(learn_needs_a_loss_of_one_element_within_a_pass) {
  const TemporaryFolder folder;
  char name[] = "program";
  char* arguments[] = {name, nullptr};
  const Communicator world(1, arguments);
  const RunFolder run(folder / "run", {}, &world);
  Linear model(2, 1);
  SGD optimizer(model.parameters(), {.lr = 0.1});
  DataLoader loader(Dataset(ones({4, 2}), ones({4, 1})), {.batch_size = 2});
  const CheckpointParts parts{.module = &model, .optimizer = &optimizer, .loader = &loader};
  Training training(run, "one", parts, {.quiet = true});
  Training divided(run, "shards", parts, {.shards = 2, .quiet = true});
  const std::vector<float> before = model.weight.values<float>();
  const Tensor loss = mse_loss(model(ones({2, 2})), ones({2, 1}));
  for (const auto& call : {std::function<void()>([&] { training.learn(loss); }), {[&] { training.step(1); }}})
    BOOST_TEST(contains(thrown_text<ValueError>(call), "call learn() or step() within `for ("));
  for (const Batch& batch : loader) {
    for (const bool defined : {false, true}) {
      const Tensor wrong = defined ? model(ones({2, 2})) : Tensor();
      const char* const part = defined
                                   ? "learn(), or returned by its function, has shape (2, 1); it must have"
                                   : "learn(), or returned by its function, is undefined";
      BOOST_TEST(contains(thrown_text<ValueError>([&] { training.learn(wrong); }), part));
      for (Training* const each : {&training, &divided})
        BOOST_TEST(contains(
            thrown_text<ValueError>([&] { each->learn(batch, [&](const Batch&) { return wrong; }); }), part));
    }
    for (const Tensor& wrong : {ones({}, DType::int64), ones({})})
      BOOST_TEST(contains(thrown_text<ValueError>([&] { training.learn(wrong); }),
                          wrong.dtype() == DType::int64
                              ? "by its function, is int64; it must be float32 or float64"
                              : "by its function, does not depend on a tensor that requires a gradient"));
    BOOST_TEST(contains(thrown_text<ValueError>([&] { training.learn(batch, {}); }), "empty"));
    BOOST_TEST(model.weight.values<float>() == before, boost::test_tools::per_element());
    training.learn(loss);
    break;
  }
}

BOOST_AUTO_TEST_CASE(the_log_has_the_rate_of_the_step) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  const auto train = [&](const std::string& name, bool by_hand, std::int64_t most) {
    manual_seed(1);
    Linear model(2, 1);
    SGD optimizer(model.parameters(), {.lr = 0.8});
    ExponentialLR schedule(optimizer, {.gamma = 0.5});
    DataLoader loader(Dataset(ones({6, 2}), ones({6, 1})), {.batch_size = 2});
    Training training(
        run, name, {.module = &model, .optimizer = &optimizer, .schedulers = {&schedule}, .loader = &loader},
        {.log_every = 1, .checkpoint_every = 0, .quiet = true});
    while (!training.done())
      for (const Batch& batch : loader) {
        if (most-- == 0) return;
        const Tensor loss = mse_loss(model(batch.input), batch.target) * 0.01;
        if (!by_hand) {
          training.learn(loss);
          continue;
        }
        optimizer.zero_grad();
        loss.backward();
        optimizer.step();
        schedule.step();
        training.step(loss.item<double>());
      }
  };
  for (const bool by_hand : {false, true}) {
    const std::string name = by_hand ? "by_hand" : "learn";
    for (const std::int64_t most : {1, 3}) train(name, by_hand, most);
    BOOST_TEST(run.column(name, "lr").values == (std::vector{0.8, 0.4, 0.2}),
               boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(ctrl_c_saves_and_ends) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  Small small(run);
  small.run(2);
  std::raise(SIGINT);
  BOOST_TEST(contains(thrown_text<Interrupted>([&] { small.run(); }), "stopped after 3 steps"));
}

BOOST_AUTO_TEST_CASE(learn_takes_the_step_of_every_part) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  const Tensor x = reshape(arange(20, DType::float32), {10, 2}) / 20.0;
  const auto trained = [&](const std::string& name, bool by_hand) {
    manual_seed(3);
    Linear model(2, 1);
    SGD optimizer(model.parameters(), {.lr = 0.1});
    LinearLR schedule(optimizer, {.total_iters = 4});
    ExponentialMovingAverage average(model, {.decay = 0.5});
    DataLoader loader(Dataset(x, ones({10, 1})), {.batch_size = 2, .shuffle = true, .seed = 5});
    Training training(run, name,
                      {.module = &model,
                       .optimizer = &optimizer,
                       .schedulers = {&schedule},
                       .loader = &loader,
                       .average = &average},
                      {.epochs = 2, .clip_grad_norm = 0.3, .quiet = true});
    while (!training.done())
      for (const Batch& batch : loader) {
        const Tensor loss = mse_loss(model(batch.input), batch.target);
        if (!by_hand) {
          training.learn(loss);
          continue;
        }
        optimizer.zero_grad();
        loss.backward();
        clip_grad_norm(model.parameters(), 0.3);
        optimizer.step();
        schedule.step();
        average.update();
        training.step(loss.item<double>());
      }
    BOOST_TEST(contains(thrown_text<ValueError>([&] { training.learn(ones({})); }), "all epochs are done"));
    return model.weight.values<float>();
  };
  BOOST_TEST(trained("a", true) == trained("b", false), boost::test_tools::per_element());
}

/// Trains with learn(batch, f) for an epoch and returns the weight. An extra parameter outside of the module
/// has large gradients.
std::vector<float> learned(const RunFolder& run, const std::string& name, std::int64_t shards,
                           bool with_extra = false) {
  manual_seed(3);
  Linear model(2, 1);
  const Tensor extra = ones({1}).set_requires_grad();
  Tensors parameters = model.parameters();
  if (with_extra) parameters.insert(parameters.begin(), extra);
  SGD optimizer(parameters, {.lr = 0.1});
  DataLoader loader(Dataset(reshape(arange(20, DType::float32), {10, 2}) / 20.0, ones({10, 1})),
                    {.batch_size = 4, .shuffle = true, .seed = 5});
  Training training(run, name, {.module = &model, .optimizer = &optimizer, .loader = &loader},
                    {.clip_grad_norm = 0.3, .shards = shards, .quiet = true});
  while (!training.done())
    for (const Batch& batch : loader)
      training.learn(batch, [&](const Batch& part) {
        const Tensor loss = mse_loss(model(part.input), part.target);
        return with_extra ? loss + sum(extra) * 1000.0 : loss;
      });
  if (with_extra) {
    const double norm = std::sqrt(std::pow(extra.grad().item<double>(), 2) +
                                  std::pow(retort::norm(model.weight.grad()).item<double>(), 2) +
                                  std::pow(retort::norm(model.bias.grad()).item<double>(), 2));
    BOOST_TEST(norm == 0.3, boost::test_tools::tolerance(1e-4));
    BOOST_TEST(extra.item<double>() > 0.9);
  }
  return model.weight.values<float>();
}

BOOST_AUTO_TEST_CASE(learn_divides_a_batch_into_shards) {
  const TemporaryFolder folder;
  char name[] = "program";
  char* arguments[] = {name, nullptr};
  const Communicator world(1, arguments);
  const RunFolder run(folder / "run", {}, &world);
  BOOST_TEST(run.writes());
  BOOST_TEST(run.world() == &world);
  const std::vector<float> whole = learned(run, "whole", 0), one = learned(run, "one", 1),
                           three = learned(run, "three", 3);
  BOOST_TEST(whole == one, boost::test_tools::per_element());
  for (std::size_t i = 0; i < whole.size(); ++i)
    BOOST_TEST(three[i] == whole[i], boost::test_tools::tolerance(1e-5F));
  Linear model(2, 1);
  SGD optimizer(model.parameters(), {.lr = 0.1});
  DataLoader loader(Dataset(ones({4, 2}), ones({4, 1})), {.batch_size = 2});
  Training training(run, "loss", {.module = &model, .optimizer = &optimizer, .loader = &loader},
                    {.shards = 2, .quiet = true});
  BOOST_TEST(contains(thrown_text<ValueError>([&] {
                        training.learn(sum(model(ones({1, 2}))));
                      }),
                      "call learn(batch, f)"));
  DataLoader own(Dataset(ones({4, 2}), ones({4, 1})), {.batch_size = 2, .shards = own_shards(world, 2)});
  const auto of_shards = [&](std::int64_t shards) {
    Training(run, "own", {.module = &model, .optimizer = &optimizer, .loader = &own},
             {.shards = shards, .quiet = true});
  };
  BOOST_TEST(contains(thrown_text<ValueError>([&] { of_shards(0); }),
                      "the loader prepares 2 shards per batch, but the options give 0"));
  BOOST_CHECK_THROW(of_shards(3), ValueError);
  of_shards(2);
  BOOST_TEST(own_shards(world, 3).end == 3);
  BOOST_TEST(own_shards(world, 0).count == 0);
}

BOOST_AUTO_TEST_CASE(learn_limits_all_parameters_of_the_optimizer) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  static_cast<void>(learned(run, "extra", 0, true));
}

BOOST_AUTO_TEST_CASE(size_and_latency) {
  Sequential model(Linear(2, 3), Linear(3, 1));
  model.set_requires_grad(false);
  BOOST_TEST(parameter_count(model) == 13);
  BOOST_TEST(latency(model, ones({1, 2}), 3) > 0);
  BOOST_TEST(model.is_training());
  BOOST_TEST(contains(thrown_text<ValueError>([&] {
                        static_cast<void>(latency(model, ones({1, 2}), 0));
                      }),
                      "at least 1, not 0"));
}

BOOST_AUTO_TEST_CASE(refusals) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  Linear model(1, 1);
  DataLoader loader(Dataset(ones({4, 1}), ones({4, 1})), {.batch_size = 2});
  const auto text = [&](const std::string& name, CheckpointParts parts, const TrainingOptions& options) {
    return thrown_text<ValueError>([&] { const Training training(run, name, std::move(parts), options); });
  };
  BOOST_TEST(contains(text("a", {.module = &model}, {}), "a module and a loader"));
  BOOST_TEST(contains(text("a/b", {.module = &model, .loader = &loader}, {}), "'a/b'"));
  BOOST_TEST(contains(text("a", {.module = &model, .loader = &loader}, {.epochs = 0}), "epochs"));
  BOOST_TEST(contains(text("a", {.module = &model, .loader = &loader}, {.clip_grad_norm = -1}), "-1"));
  BOOST_TEST(contains(text("a", {.module = &model, .loader = &loader}, {.shards = -1}),
                      "shards is -1; it must be at least 0"));
  BOOST_TEST(contains(text("a", {.module = &model, .loader = &loader}, {.shards = 2}), "the Communicator"));
  char name[] = "program";
  char* arguments[] = {name, nullptr};
  const Communicator world(1, arguments);
  BOOST_TEST(contains(text("a", {.module = &model, .loader = &loader, .world = &world}, {}),
                      "give it to the RunFolder"));
  Linear other(1, 1);
  SGD optimizer(other.parameters(), {.lr = 0.1});
  BOOST_TEST(contains(text("a", {.module = &model, .optimizer = &optimizer, .loader = &loader}, {}),
                      "the optimiser has no parameter of the module"));
  BOOST_TEST(contains(text("a", {.module = &model, .schedulers = {nullptr}, .loader = &loader}, {}),
                      "scheduler 0 is null; leave it out instead"));
  SGD own(model.parameters(), {.lr = 0.1});
  LinearWarmup schedule(optimizer, {});
  ExponentialMovingAverage average(other);
  BOOST_TEST(
      text("a", {.module = &model, .optimizer = &own, .schedulers = {&schedule}, .loader = &loader}, {}) ==
      "Training 'a': scheduler 0 sets the rates of another optimiser; construct it with the optimiser "
      "of these parts");
  LinearWarmup warmup(own, {}), rest(own, {});
  SequentialLR sequence(own, {&warmup, &rest}, {2});
  const auto scheduled = [&](const std::vector<LRScheduler*>& schedulers) {
    return text("a", {.module = &model, .optimizer = &own, .schedulers = schedulers, .loader = &loader}, {});
  };
  BOOST_TEST(scheduled({&warmup, &rest, &warmup}) ==
             "Training 'a': scheduler 2 is in the list twice and would step twice");
  BOOST_TEST(
      scheduled({&rest, &sequence}) ==
      "Training 'a': scheduler 0 is part of a SequentialLR and would step twice; list only the sequence");
  BOOST_TEST(text("a", {.module = &model, .loader = &loader, .average = &average}, {}) ==
             "Training 'a': the average is of another module; construct it with the module of these parts");
  BOOST_TEST(!fs::exists(folder / "a.json"));
  Training plain(run, "plain", {.module = &model, .loader = &loader}, {.quiet = true});
  BOOST_TEST(contains(thrown_text<ValueError>([&] { plain.learn(ones({})); }), "needs an optimiser"));
  Training training(run, "nan", {.module = &model, .loader = &loader}, {.quiet = true});
  BOOST_TEST(contains(thrown_text<ValueError>([&] { training.step(std::nan("")); }),
                      "the loss is nan before the first update; look for NaN or infinity in the data"));
  for (const Batch& batch : loader) {
    static_cast<void>(batch);
    training.step(1);
    BOOST_TEST(contains(thrown_text<ValueError>([&] { training.step(std::nan("")); }),
                        "the loss is nan after 1 step; try a lower learning rate"));
    break;
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
