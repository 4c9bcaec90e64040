// Averages of weights, early stopping, guarded generators, the range test, and how all of them resume.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "framework/io/files.hpp"
#include "retort/retort.hpp"
#include "training_run.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

const double not_a_number = std::numeric_limits<double>::quiet_NaN();
const auto each = boost::test_tools::per_element();

/// A module with a parameter, a buffer and a tied weight.
class Small : public Module {
 public:
  Tensor weight = tensor({1.0, 2.0}).set_requires_grad();
  Tensor tied = weight;
  Buffer count = Buffer(zeros({}, DType::int64));
  RETORT_MEMBERS(weight, tied, count)
};

void set(const Tensor& x, std::vector<double> values) {
  std::copy(values.begin(), values.end(), x.mutable_data<double>().begin());
}

}  // namespace

BOOST_AUTO_TEST_SUITE(training_helpers)

BOOST_AUTO_TEST_CASE(averages_of_parameters_and_copies_of_buffers) {
  Small model;
  ExponentialMovingAverage ema(model, {.decay = 0.75});
  set(model.weight, {5, -2});
  model.count.mutable_data<std::int64_t>()[0] = 7;
  ema.update();
  const std::vector<double> own{5, -2}, averaged{2, 1};
  {
    const auto applied = ema.apply();
    BOOST_TEST(ema.is_applied());
    BOOST_TEST(model.weight.values<double>() == averaged, each);
    BOOST_TEST(model.tied.values<double>() == averaged, each);
    BOOST_TEST(model.count.item<std::int64_t>() == 7);
    BOOST_TEST(ema.state_dict().at("weight").values<double>() == averaged, each);
    BOOST_CHECK_THROW(ema.update(), ValueError);
    BOOST_CHECK_THROW((void)ema.apply(), ValueError);
    BOOST_TEST(model.weight.requires_grad());
  }
  BOOST_TEST(!ema.is_applied());
  BOOST_TEST(model.weight.values<double>() == own, each);
  BOOST_TEST(ema.state_dict().at("weight").values<double>() == averaged, each);
  BOOST_TEST(ema.state_dict().size() == 2);

  Small other;
  ExponentialMovingAverage loaded(other, {.decay = 0.75});
  loaded.load_state_dict(ema.state_dict());
  set(other.weight, {5, -2});
  loaded.update(), ema.update();
  BOOST_TEST(
      loaded.state_dict().at("weight").values<double>() == ema.state_dict().at("weight").values<double>(),
      each);
  StateDict bad = ema.state_dict();
  bad.erase("weight");
  BOOST_CHECK_THROW(loaded.load_state_dict(bad), ValueError);
  BOOST_CHECK_THROW(ExponentialMovingAverage(model, {.decay = 1.5}), ValueError);
  BOOST_CHECK_THROW(ExponentialMovingAverage(model, {.decay = not_a_number}), ValueError);
}

BOOST_AUTO_TEST_CASE(averages_follow_a_conversion_and_keep_what_is_frozen) {
  manual_seed(3);
  Linear layer(5, 7);
  ExponentialMovingAverage ema(layer, {.decay = 0.9});
  const std::vector<double> before = layer.weight.values<double>();
  for (int i = 0; i < 50; ++i) ema.update();
  BOOST_TEST(ema.state_dict().at("weight").values<double>() == before, each);  // no drift by rounding
  layer.to(DType::float64);
  ema.update();
  BOOST_TEST((ema.state_dict().at("weight").dtype() == DType::float64));
}

BOOST_AUTO_TEST_CASE(a_run_stops_when_it_no_longer_improves) {
  EarlyStopping stop({.patience = 2, .min_delta = 0.1});
  BOOST_TEST(!stop.step(1.0));
  BOOST_TEST(stop.improved());
  BOOST_TEST(!stop.step(0.95));  // better by less than min_delta
  BOOST_TEST(!stop.improved());
  BOOST_TEST(!stop.step(0.85));
  BOOST_TEST(stop.improved());
  BOOST_TEST(stop.best() == 0.85);
  BOOST_TEST(!stop.step(not_a_number));
  EarlyStopping resumed({.patience = 2, .min_delta = 0.1});
  resumed.load_state_dict(stop.state_dict());
  BOOST_TEST(stop.step(0.8));
  BOOST_TEST(resumed.step(0.8));
  BOOST_TEST(stop.step(0.8));  // it stays true
  BOOST_TEST(!stop.step(0.1));

  EarlyStopping largest({.patience = 0, .mode = "max"});
  BOOST_TEST(!largest.step(0.5));
  BOOST_TEST(!largest.step(0.6));
  BOOST_TEST(largest.step(0.6));
  BOOST_CHECK_NO_THROW(EarlyStopping({}));
  BOOST_CHECK_THROW(EarlyStopping({.patience = -1}), ValueError);
  BOOST_CHECK_THROW(EarlyStopping({.min_delta = -1}), ValueError);
  BOOST_CHECK_THROW(EarlyStopping({.mode = "best"}), ValueError);
  BOOST_CHECK_THROW(stop.load_state_dict({}), ValueError);
}

BOOST_AUTO_TEST_CASE(a_guard_redirects_every_draw_of_its_thread) {
  manual_seed(1);
  Generator own(9), same(9), inner(4);
  const Generator before = generator_state();
  std::vector<double> drawn, expected;
  const auto add = [](std::vector<double>& to, const Tensor& x) {
    const std::vector<double> values = x.values<double>();
    to.insert(to.end(), values.begin(), values.end());
  };
  {
    const GeneratorGuard guard(own);
    add(drawn, rand({5}));
    add(drawn, dropout(ones({40}), 0.5, true));
    add(drawn, Linear(3, 4).weight);
    {
      const GeneratorGuard nested(inner);
      (void)rand({3});
    }
    add(drawn, randn({3}));
    std::thread([] { (void)rand({4}); }).join();  // from the default generator
  }
  BOOST_TEST(inner.position() > 0U);
  BOOST_TEST(generator_state().position() == before.position() + 1);
  set_generator_state(same);
  add(expected, rand({5}));
  add(expected, dropout(ones({40}), 0.5, true));
  add(expected, Linear(3, 4).weight);
  add(expected, randn({3}));
  BOOST_TEST(drawn == expected, each);
}

BOOST_AUTO_TEST_CASE(a_checkpoint_keeps_the_generator_in_force) {
  const TemporaryFolder folder;
  Linear layer(2, 2);
  Generator own(3);
  const GeneratorGuard guard(own);
  Checkpoint checkpoint(folder / "a", {.module = &layer});
  (void)rand({100});
  checkpoint.save(1);
  const std::vector<double> next = rand({4}).values<double>();
  own.manual_seed(77);
  checkpoint.load();
  BOOST_TEST(rand({4}).values<double>() == next, each);
}

BOOST_AUTO_TEST_CASE(no_checkpoint_while_the_averages_are_in_the_module) {
  const TemporaryFolder folder;
  TrainingRun run;
  Checkpoint checkpoint(folder / "a", run.parts());
  {
    const auto averaged = run.average.apply();
    BOOST_CHECK_THROW(run.save(checkpoint), ValueError);
  }
  run.save(checkpoint);
}

// A checkpoint of an earlier version names a plateau on its own.
BOOST_AUTO_TEST_CASE(a_plateau_of_an_earlier_version_is_read) {
  const TemporaryFolder folder;
  SGD optimizer({ones({2}).set_requires_grad()}, {.lr = 0.5});
  ReduceLROnPlateau plateau(optimizer, {.factor = 0.5, .patience = 0});
  plateau.step(1), plateau.step(1);
  Checkpoint checkpoint(folder / "a", {.optimizer = &optimizer, .schedulers = {&plateau}});
  const std::string path = checkpoint.save(1);
  SGD other({ones({2}).set_requires_grad()}, {.lr = 1});
  ReduceLROnPlateau resumed(other, {.factor = 0.5, .patience = 0});
  Checkpoint again(folder / "a", {.optimizer = &other, .schedulers = {&resumed}});
  again.load(path);
  BOOST_TEST(other.lr() == 0.25);
  resumed.step(2), plateau.step(2);
  BOOST_TEST(other.lr() == optimizer.lr());
}

// Stopped at 50 random steps: groups, averages, early stopping, schedules and generators resume with the same
// bits.
BOOST_AUTO_TEST_CASE(everything_resumes_at_random_steps) {
  constexpr std::int64_t steps = 60;
  TrainingRun whole;
  const TemporaryFolder folder;
  Checkpoint checkpoint(folder / "a", whole.parts(), {.keep = steps + 1});
  std::vector<std::string> paths{whole.save(checkpoint)};
  whole.train(steps, [&] { paths.push_back(whole.save(checkpoint)); });
  BOOST_TEST(whole.stops > 0);
  const std::string end = whole.state();
  Generator moments(11);
  for (int i = 0; i < 50; ++i) {
    TrainingRun run(99);
    Checkpoint reader(folder / "a", run.parts());
    run.resume(reader.load(paths[moments.below(steps)]));
    run.train(steps);
    BOOST_TEST((run.state() == end), "from step " << i);
  }
}

BOOST_AUTO_TEST_CASE(a_range_test_finds_a_rate_and_changes_nothing) {
  manual_seed(2);
  Linear model(4, 1);
  SGD optimizer(model.parameters(), {.lr = 0.3, .momentum = 0.9});
  const Tensor x = randn({64, 4}), y = sum(x, 1, true);
  const auto loss_of_step = [&] {
    optimizer.zero_grad();
    const Tensor loss = mse_loss(model(x), y);
    loss.backward();
    return loss.item<double>();
  };
  const std::string before = bytes_of(model.state_dict()) + bytes_of(optimizer.state_dict());
  const FoundLR found = find_lr(model, optimizer, loss_of_step, {.first = 1e-5, .last = 10, .steps = 60});
  BOOST_TEST((bytes_of(model.state_dict()) + bytes_of(optimizer.state_dict()) == before));
  BOOST_TEST(found.rates.size() == found.losses.size());
  BOOST_TEST(found.rates.size() < 60U);  // it diverged before the highest rate
  BOOST_TEST(found.steepest > 1e-4);
  BOOST_TEST(found.steepest <= found.lowest);
  BOOST_TEST(found.lowest < 5);
  optimizer.set_lr(found.steepest);
  const double first = loss_of_step();
  for (int i = 0; i < 100; ++i) loss_of_step(), optimizer.step();
  BOOST_TEST(loss_of_step() < 0.05 * first);

  BOOST_CHECK_THROW((void)find_lr(model, optimizer, {}), ValueError);
  BOOST_CHECK_THROW((void)find_lr(model, optimizer, loss_of_step, {.first = 0}), ValueError);
  BOOST_CHECK_THROW((void)find_lr(model, optimizer, loss_of_step, {.last = 1e-9}), ValueError);
  BOOST_CHECK_THROW((void)find_lr(model, optimizer, loss_of_step, {.steps = 1}), ValueError);
  BOOST_CHECK_THROW((void)find_lr(model, optimizer, [] { return not_a_number; }), ValueError);
  BOOST_TEST(optimizer.lr() == found.steepest);
}

// The recipe of the pages: gradients of small batches add up to that of a large one.
BOOST_AUTO_TEST_CASE(gradients_accumulate_over_small_batches) {
  const auto train = [](std::int64_t batch_size, std::int64_t accumulate) {
    manual_seed(6);
    Linear model(4, 3);
    model.to(DType::float64);
    SGD optimizer(model.parameters(), {.lr = 0.1, .momentum = 0.9});
    const Dataset data(randn({32, 4}, DType::float64), argmax(randn({32, 3}), 1));
    DataLoader loader(data, {.batch_size = batch_size});

    std::int64_t batches = 0;
    for (const Batch& batch : loader) {
      if (batches % accumulate == 0) optimizer.zero_grad();
      const Tensor loss = cross_entropy(model(batch.input), batch.target);
      (loss / static_cast<double>(accumulate)).backward();  // the mean over all of them
      if (++batches % accumulate == 0) {
        clip_grad_norm(optimizer.parameters(), 1);
        optimizer.step();
      }
    }
    return model.weight.values<double>();
  };
  BOOST_TEST(train(4, 4) == train(16, 1), boost::test_tools::tolerance(1e-12) << each);
}

BOOST_AUTO_TEST_SUITE_END()
