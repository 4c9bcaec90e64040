// A training resumes only with the parts and options with which it began.
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <string>
#include <vector>

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

BOOST_AUTO_TEST_SUITE(training)

BOOST_AUTO_TEST_CASE(fewer_epochs_than_were_done_are_refused_and_nothing_is_changed) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  const auto train = [&](std::int64_t epochs, std::int64_t steps) {
    Linear model(2, 1);
    SGD optimizer(model.parameters(), {.lr = 0.1});
    DataLoader loader(Dataset(ones({4, 2}), ones({4, 1})), {.batch_size = 2});
    Training training(run, "one", {.module = &model, .optimizer = &optimizer, .loader = &loader},
                      {.epochs = epochs, .checkpoint_every = 0, .quiet = true});
    while (!training.done() && training.steps() < steps)
      for (const Batch& batch : loader) {
        training.learn(mse_loss(model(batch.input), batch.target));
        if (training.steps() == steps) break;
      }
    return training.steps();
  };
  BOOST_TEST(train(3, 3) == 3);
  BOOST_TEST(contains(thrown_text<ValueError>([&] { train(1, 9); }),
                      "after 3 steps, but the options end at step 2"));
  BOOST_TEST(!fs::exists(folder / "run/one.safetensors"));
  BOOST_TEST(train(3, 9) == 6);
}

BOOST_AUTO_TEST_CASE(a_resumed_training_has_the_loader_of_the_folder) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  const auto train = [&](const DataLoaderOptions& options) {
    Linear model(2, 1);
    SGD optimizer(model.parameters(), {.lr = 0.1});
    DataLoader loader(Dataset(ones({5, 2}), ones({5, 1})), options);
    Training training(run, "one", {.module = &model, .optimizer = &optimizer, .loader = &loader},
                      {.epochs = 2, .checkpoint_every = 0, .quiet = true});
    while (!training.done())
      for (const Batch& batch : loader) {
        training.learn(mse_loss(model(batch.input), batch.target));
        return training.steps();
      }
    return std::int64_t{0};
  };
  const auto refused = [&](const DataLoaderOptions& options) {
    return thrown_text<Error>([&] { train(options); });
  };
  manual_seed(1);
  BOOST_TEST(train({.batch_size = 3, .shuffle = true, .seed = 5}) == 1);
  BOOST_TEST(contains(refused({.batch_size = 4, .shuffle = true, .seed = 5}),
                      "is of a training with batch_size 3, but this one has 4"));
  BOOST_TEST(contains(refused({.batch_size = 3, .seed = 5}), "order shuffled, but this one has in order"));
  BOOST_TEST(contains(refused({.batch_size = 3, .shuffle = true, .seed = 6}), "seed 5, but this one has 6"));
  BOOST_TEST(train({.batch_size = 3, .shuffle = true, .seed = 5}) == 2);
  manual_seed(2);
  BOOST_TEST(train({.batch_size = 3, .shuffle = true}) == 3);  // a seed that is drawn is that of the folder
}

/// Trains "one" for a step or to its end, and returns the refusal; empty if there is none. The weights must
/// not change if it is refused.
template <class Optimizer>
std::string refusal(const RunFolder& run, bool to_the_end, std::uint64_t seed, bool with_schedule,
                    std::int64_t batch_size = 2) {
  Linear model(2, 1);
  const std::vector<float> before = model.weight.values<float>();
  Optimizer optimizer(model.parameters(), {.lr = 0.1});
  StepLR step(optimizer, {.step_size = 1});
  std::vector<LRScheduler*> schedules;
  if (with_schedule) schedules.push_back(&step);
  DataLoader loader(Dataset(ones({4, 2}), ones({4, 1})),
                    {.batch_size = batch_size, .shuffle = true, .seed = seed});
  try {
    Training training(run, "one",
                      {.module = &model, .optimizer = &optimizer, .schedulers = schedules, .loader = &loader},
                      {.epochs = 3, .checkpoint_every = 0, .quiet = true});
    while (!training.done())
      for (const Batch& batch : loader) {
        training.learn(mse_loss(model(batch.input), batch.target));
        if (!to_the_end) return {};
      }
    return {};
  } catch (const Error& error) {
    BOOST_TEST(model.weight.values<float>() == before, boost::test_tools::per_element());
    BOOST_TEST(loader.position().batch == 0);
    return error.what();
  }
}

BOOST_AUTO_TEST_CASE(other_parts_are_refused_and_nothing_is_changed) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  for (const bool ended : {false, true}) {
    BOOST_TEST(refusal<SGD>(run, ended, 5, false) == "");
    BOOST_TEST(contains(refusal<SGD>(run, true, 6, false), "seed 5, but this one has 6"));
    BOOST_TEST(
        contains(refusal<Adam>(run, true, 5, false),
                 "one.json: is of a training with optimiser SGD, but this one has Adam; give the same"));
    BOOST_TEST(contains(refusal<SGD>(run, true, 5, true), "with no schedule, but this one has StepLR"));
    BOOST_TEST(fs::exists(folder / "run/one.json"));
  }
  BOOST_TEST(refusal<SGD>(run, true, 5, false) == "");
  // A record of an earlier version has no parts.
  write_file(folder / "run/one.json", R"({"steps": 6, "seconds": 1})");
  BOOST_TEST(refusal<SGD>(run, true, 6, false) == "");
}

/// The choices of a training that may change between its processes.
struct Choices {
  double lr = 0.1;
  std::int64_t T_max = 6;
  double clip = 0;
  bool average = false;
};

/// Trains "one" with these choices for a step or to its end, and returns the refusal and all warnings.
std::string refusal_or_warnings(const RunFolder& run, bool to_the_end, const Choices& choices) {
  std::string texts;
  const WarningHandler before =
      set_warning_handler([&](std::string_view warning) { texts += std::string(warning) + '\n'; });
  Linear model(2, 1);
  SGD optimizer({{{model.weight}, {.lr = choices.lr}}, {{model.bias}, {.lr = 0.1}}});
  CosineAnnealingLR schedule(optimizer, {.T_max = choices.T_max});
  ExponentialMovingAverage average(model);
  DataLoader loader(Dataset(ones({4, 2}), ones({4, 1})), {.batch_size = 2, .seed = 5});
  try {
    Training training(run, "one",
                      {.module = &model,
                       .optimizer = &optimizer,
                       .schedulers = {&schedule},
                       .loader = &loader,
                       .average = choices.average ? &average : nullptr},
                      {.epochs = 3, .checkpoint_every = 0, .clip_grad_norm = choices.clip, .quiet = true});
    bool stop = false;
    while (!training.done() && !stop)
      for (const Batch& batch : loader) {
        training.learn(mse_loss(model(batch.input), batch.target));
        if (stop = !to_the_end; stop) break;
      }
  } catch (const Error& error) {
    texts += error.what();
  }
  set_warning_handler(before);
  return texts;
}

BOOST_AUTO_TEST_CASE(other_options_are_refused_where_they_would_be_ignored) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  const auto text = [&](bool to_the_end, const Choices& choices) {
    return refusal_or_warnings(run, to_the_end, choices);
  };
  BOOST_TEST(text(false, {}) == "");
  BOOST_TEST(text(false, {}) == "");
  const std::string lr =
      "one.json: is of a training with optimiser option param_groups.0.lr 0.1, but this one has 0.2";
  BOOST_TEST(contains(text(false, {.lr = 0.2}), lr));
  BOOST_TEST(contains(text(false, {.average = true}),
                      "with no average, but this one has ExponentialMovingAverage; give the same"));
  BOOST_TEST(text(false, {.T_max = 9}) ==
             "CosineAnnealingLR::load_state_dict: the state was saved with T_max = 6, eta_min = 0, but this "
             "CosineAnnealingLR has T_max = 9, eta_min = 0, with which it continues; to continue as before, "
             "construct it with the options that were saved\n");
  BOOST_TEST(text(false, {.T_max = 9}) == "");  // the newest checkpoint has these options
  BOOST_TEST(
      text(false, {.T_max = 9, .clip = 0.5}) ==
      "Training 'one': began with clip_grad_norm 0, but this one has 0.5; it continues with the latter\n");
  BOOST_TEST(text(true, {.T_max = 9, .clip = 0.5}) == "");
  // An ended training would ignore all of them.
  BOOST_TEST(text(true, {.T_max = 9, .clip = 0.5}) == "");
  BOOST_TEST(contains(text(true, {.lr = 0.2, .T_max = 9, .clip = 0.5}), lr));
  BOOST_TEST(
      contains(text(true, {.T_max = 6, .clip = 0.5}),
               "with schedule options T_max = 9, eta_min = 0, but this one has T_max = 6, eta_min = 0"));
  BOOST_TEST(contains(text(true, {.T_max = 9}), "with clip_grad_norm 0.5, but this one has 0"));
}

BOOST_AUTO_TEST_CASE(a_training_does_not_resume_without_its_log) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  BOOST_TEST(refusal<SGD>(run, false, 5, false) == "");
  fs::remove(run.file("one.jsonl"));
  const std::string text = refusal<SGD>(run, false, 5, false);  // checks that the weights did not change
  BOOST_TEST(contains(text, "Training 'one': resumes after 1 step, but its log " + run.file("one.jsonl") +
                                " is missing; restore it"),
             text);
}

BOOST_AUTO_TEST_CASE(a_training_does_not_resume_without_its_description) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "run", {});
  for (const bool ended : {false, true}) {
    BOOST_TEST(refusal<SGD>(run, ended, 5, false) == "");
    const std::string whole = read_file(run.file("one.json"));
    write_file(run.file("one.json"), whole.substr(0, whole.size() / 2));
    std::string text = refusal<SGD>(run, true, 5, false);
    BOOST_TEST(contains(text, "one.json: is not a JSON object, so that this training cannot be compared"),
               text);
    fs::remove(run.file("one.json"));
    text = refusal<SGD>(run, true, 5, false);
    BOOST_TEST(contains(text, "one.json: is missing, so that this training cannot be compared"), text);
    write_file(run.file("one.json"), whole);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
