#include "retort/framework/train/checkpoint.hpp"

#include <sys/wait.h>
#include <zlib.h>

#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>

#include "framework/io/files.hpp"
#include "tests_support.hpp"
#include "training_run.hpp"

using namespace retort;
using namespace retort::tests;
namespace fs = std::filesystem;

namespace {

using Names = std::set<std::string>;

Names names_in(const std::string& folder) {
  Names names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
  return names;
}

/// Collects warnings during its lifetime.
class Warnings {
 public:
  Warnings() : before_(set_warning_handler([this](std::string_view text) { texts.emplace_back(text); })) {}
  ~Warnings() { set_warning_handler(before_); }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;

  std::vector<std::string> texts = {};

 private:
  WarningHandler before_;
};

/// A folder with the checkpoints of steps 5 and 6 of a run, and the run's states at each step up to 12.
struct TwoSaved {
  TwoSaved() {
    TrainingRun run;
    Checkpoint checkpoint(path, run.parts());
    states.push_back(run.state());
    run.train(12, [&] {
      states.push_back(run.state());
      if (run.step == 5 || run.step == 6) files.push_back(run.save(checkpoint));
    });
  }

  /// The step from which a new process would resume. Checks that all state equals that of the step, and of
  /// the last step after training to the end.
  std::int64_t resumable_step() const {
    TrainingRun run(99);
    Checkpoint checkpoint(path, run.parts());
    const auto loaded = checkpoint.load();
    BOOST_REQUIRE(loaded.has_value());
    run.resume(*loaded);
    BOOST_TEST((run.state() == states[static_cast<std::size_t>(run.step)]));
    const std::int64_t step = run.step;
    run.train(12);
    BOOST_TEST((run.state() == states.back()));
    return step;
  }

  TemporaryFolder folder = {};
  std::string path = folder / "checkpoints";
  std::vector<std::string> files = {};
  std::vector<std::string> states = {};
};

}  // namespace

BOOST_AUTO_TEST_SUITE(checkpoint)

BOOST_AUTO_TEST_CASE(a_run_resumed_anywhere_gives_the_same_bits) {
  constexpr std::int64_t steps = 51;  // five epochs and two thirds
  const TemporaryFolder folder;
  std::vector<std::string> files;
  TrainingRun run;
  Checkpoint checkpoint(folder / "a", run.parts(), {.keep = steps + 1});
  files.push_back(run.save(checkpoint));
  run.train(steps, [&] { files.push_back(run.save(checkpoint)); });
  const std::string end = run.state();

  TrainingRun undisturbed;
  undisturbed.train(steps);
  BOOST_TEST((undisturbed.state() == end));
  const int threads = get_num_threads();
  for (const std::string& file : files) {
    TrainingRun resumed(99);
    const auto loaded = Checkpoint(folder / "a", resumed.parts()).load(file);
    BOOST_TEST(loaded.path == file);
    resumed.resume(loaded);
    set_num_threads(1 + static_cast<int>(loaded.step % 3));
    resumed.train(steps);
    BOOST_TEST((resumed.state() == end), "resumed at step " << loaded.step);
  }
  set_num_threads(threads);
}

BOOST_AUTO_TEST_CASE(every_optimizer_and_schedule_resumes_with_a_loader_that_works_ahead) {
  using Schedule = std::function<std::unique_ptr<LRScheduler>(Optimizer&)>;
  const std::vector<std::function<std::unique_ptr<Optimizer>(const Tensors&)>> optimizers = {
      [](const Tensors& p) { return std::make_unique<SGD>(p, SGDOptions{.lr = 0.01}); },
      [](const Tensors& p) {
        return std::make_unique<SGD>(p, SGDOptions{.lr = 0.01, .momentum = 0.9, .nesterov = true});
      },
      [](const Tensors& p) { return std::make_unique<Adam>(p, AdamOptions{.lr = 0.01, .amsgrad = true}); },
      [](const Tensors& p) { return std::make_unique<AdamW>(p, AdamWOptions{.lr = 0.01}); },
      [](const Tensors& p) {
        return std::make_unique<RMSprop>(p, RMSpropOptions{.momentum = 0.5, .centered = true});
      },
      [](const Tensors& p) { return std::make_unique<Adagrad>(p, AdagradOptions{.lr_decay = 0.1}); }};
  const std::vector<Schedule> schedules = {
      [](Optimizer&) { return nullptr; },  // a plateau instead
      [](Optimizer& o) { return std::make_unique<StepLR>(o, StepLROptions{.step_size = 3, .gamma = 0.5}); },
      [](Optimizer& o) { return std::make_unique<LinearLR>(o, LinearLROptions{.total_iters = 7}); },
      [](Optimizer& o) {
        return std::make_unique<CosineAnnealingLR>(o, CosineAnnealingLROptions{.T_max = 8});
      },
      [](Optimizer& o) {
        return std::make_unique<OneCycleLR>(
            o, OneCycleLROptions{
                   .max_lr = 0.1, .total_steps = 14, .cycle_momentum = !dynamic_cast<Adagrad*>(&o)});
      },
      [](Optimizer& o) {
        return std::make_unique<LambdaLR>(
            o, LambdaLROptions{[](std::int64_t step) { return 1 / (1.0 + static_cast<double>(step)); }});
      },
      [](Optimizer& o) { return std::make_unique<LinearWarmup>(o, LinearWarmupOptions{.warmup_steps = 6}); }};
  constexpr std::int64_t steps = 12;  // an epoch and a third
  manual_seed(5);
  const Dataset images(rand({33, 16}), arange(33));
  const int threads = get_num_threads();
  const TemporaryFolder folder;

  for (std::size_t o = 0; o < optimizers.size(); ++o)
    for (std::size_t s = 0; s < schedules.size(); ++s) {
      const std::string path = folder / message("{}-{}", o, s);
      // Trains on from there, keeping every step the first time; returns the end.
      const auto run = [&](std::int64_t from) {
        manual_seed(static_cast<std::uint64_t>(from));
        Sequential model(Linear(16, 4), Dropout(0.3), Linear(4, 1));
        const auto optimizer = optimizers[o](model.parameters());
        const auto schedule = schedules[s](*optimizer);
        std::optional<ReduceLROnPlateau> plateau;
        if (!schedule) plateau.emplace(*optimizer, ReduceLROnPlateauOptions{.patience = 1});
        DataLoader loader(images, {.batch_size = 4,
                                   .shuffle = true,
                                   .seed = 3 + static_cast<std::uint64_t>(from),
                                   .transform = random_shift(1),
                                   .prefetch = true});
        Checkpoint checkpoint(path,
                              {.module = &model,
                               .optimizer = optimizer.get(),
                               .schedulers = {schedule ? schedule.get() : &*plateau},
                               .loader = &loader},
                              {.keep = steps + 1});
        std::int64_t step = from;
        if (from > 0)
          step = checkpoint
                     .load(path + message("/0000{}{}-step-{}.safetensors", from < 10 ? "0" : "", from, from))
                     .step;
        while (step < steps)
          for (const Batch& batch : loader) {
            const Tensor loss = mean(pow(model(batch.input), 2));
            optimizer->zero_grad();
            loss.backward();
            optimizer->step();
            if (schedule) schedule->step();
            if (plateau) plateau->step(loss.item<double>());
            ++step;
            if (from == 0) checkpoint.save(step);
            if (step == steps) break;
          }
        return bytes_of(model.state_dict()) + bytes_of(optimizer->state_dict()) +
               message("{}", optimizer->lr());
      };
      set_num_threads(1);
      const std::string undisturbed = run(0);
      for (std::int64_t from = 1; from < steps; ++from) {
        set_num_threads(1 + static_cast<int>(from % 2));
        BOOST_TEST((run(from) == undisturbed), "optimizer " << o << ", schedule " << s << ", from " << from);
      }
    }
  set_num_threads(threads);
}

BOOST_AUTO_TEST_CASE(the_newest_and_the_best_stay) {
  const TemporaryFolder folder;
  TrainingRun run;
  Checkpoint checkpoint(folder / "a/b/", run.parts(), {.keep = 2});
  BOOST_TEST(!checkpoint.load());
  BOOST_TEST(!checkpoint.last());
  BOOST_TEST(!checkpoint.best());
  run.train(5, [&] { run.save(checkpoint, run.step == 2); });
  BOOST_TEST((names_in(folder / "a/b") == Names{"000002-step-2-best.safetensors", "000004-step-4.safetensors",
                                                "000005-step-5.safetensors", "best.safetensors",
                                                "last.safetensors"}));
  BOOST_TEST(read_file(folder / "a/b/last.safetensors") == read_file(*checkpoint.last()));
  BOOST_TEST(read_file(folder / "a/b/best.safetensors") == read_file(*checkpoint.best()));
  BOOST_TEST(checkpoint.load()->step == 5);
  BOOST_TEST(checkpoint.load(folder / "a/b/best.safetensors").step == 2);

  // From the best on: what is saved now is the newest, though its step is an earlier one.
  checkpoint.save(3, R"({"again": [1, "\u0000é"]})", true);
  BOOST_TEST((names_in(folder / "a/b") == Names{"000005-step-5.safetensors", "000006-step-3-best.safetensors",
                                                "best.safetensors", "last.safetensors"}));
  BOOST_TEST(checkpoint.load()->json == R"({"again": [1, "\u0000é"]})");
  BOOST_TEST(fs::path(*checkpoint.best()).filename() == "000006-step-3-best.safetensors");
}

BOOST_AUTO_TEST_CASE(what_killed_processes_left_is_removed_and_other_files_stay) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  BOOST_REQUIRE(::waitpid(child, nullptr, 0) == child);
  const TwoSaved saved;
  const auto name = [](pid_t process, const char* rest) {
    return ".retort-" + std::to_string(process) + rest;
  };
  const Names others{name(::getppid(), "-0.tmp"), "notes.txt", "000009-step-x.safetensors",
                     "9-step-1.safetensors.tmp"};
  for (const std::string& other : others) write_file(saved.path + "/" + other, "half");
  for (const std::string& stale :
       {name(child, "-7.tmp"), name(::getpid(), "-900.tmp"), name(child, "-link.tmp")})
    write_file(saved.path + "/" + stale, "half");
  BOOST_TEST(saved.resumable_step() == 6);

  TrainingRun run;
  Checkpoint checkpoint(saved.path, run.parts(), {.keep = 1});
  run.save(checkpoint);
  Names expected = others;
  expected.insert({"000003-step-0.safetensors", "last.safetensors"});
  BOOST_TEST((names_in(saved.path) == expected));
}

BOOST_AUTO_TEST_CASE(whatever_call_fails_the_newest_or_the_one_before_is_there) {
  for (const SystemCall call :
       {SystemCall::write, SystemCall::fsync, SystemCall::rename, SystemCall::open, SystemCall::close})
    for (const int error : {ENOSPC, EIO})
      for (int nth = 0;; ++nth) {
        BOOST_TEST_CONTEXT("call " << static_cast<int>(call) << ", number " << nth << ", error " << error) {
          const TwoSaved saved;
          TrainingRun run(99);
          Checkpoint checkpoint(saved.path, run.parts(), {.keep = 1});
          run.resume(*checkpoint.load());
          run.train(7);
          bool failed = false, happened = false;
          {
            const FailingCall failing(call, nth, error);
            try {
              run.save(checkpoint, true);
            } catch (const IoError& caught) {
              failed = true;
              BOOST_TEST(says(saved.path, error == EIO ? "Input/output error" : "No space left")(caught));
            }
            happened = failing.happened();
          }
          BOOST_TEST((failed == happened || call == SystemCall::close));  // of a folder that has been flushed
          for (const std::string& name : names_in(saved.path)) BOOST_TEST(!name.starts_with("."));
          const Generator dropout = generator_state();
          const std::int64_t step = saved.resumable_step();
          set_generator_state(dropout);
          BOOST_TEST((step == 7 || (failed && step == 6)));
          run.save(checkpoint);  // the disk works again
          BOOST_TEST(saved.resumable_step() == 7);
          BOOST_TEST(names_in(saved.path).size() <= 4U);
          for (const auto& entry : fs::directory_iterator(saved.path)) BOOST_TEST(fs::exists(entry.path()));
          if (!happened) {
            BOOST_TEST(nth >= 3);
            break;
          }
        }
      }
}

BOOST_AUTO_TEST_CASE(a_folder_that_cannot_be_made_durable_is_told) {
  const TemporaryFolder folder;
  TrainingRun run;
  for (int nth = 0; nth < 2; ++nth) {  // the one for folder "a", the one for "a/b" in it
    const std::string path = folder / message("a{}/b", nth);
    Checkpoint checkpoint(path, run.parts());
    const FailingCall failing(SystemCall::fsync, nth, EIO);
    BOOST_CHECK_EXCEPTION(checkpoint.save(0), IoError, says("Checkpoint::save", "flush the folder"));
  }
  write_file(folder / "file", "");
  BOOST_CHECK_EXCEPTION(Checkpoint(folder / "file/a", run.parts()).save(0), IoError,
                        says("file", "make the folder"));
  BOOST_CHECK_EXCEPTION(Checkpoint(folder / "file", run.parts()).load(), IoError, says("cannot look into"));
}

BOOST_AUTO_TEST_CASE(a_damaged_newest_file_gives_way_to_the_one_before) {
  const TwoSaved saved;
  const std::string whole = read_file(saved.files[1]);
  TrainingRun run(99);
  Checkpoint checkpoint(saved.path, run.parts());
  const auto check_skipped = [&] {
    const Warnings warnings;
    const auto loaded = checkpoint.load();
    BOOST_TEST(loaded->step == 5);
    BOOST_TEST(warnings.texts.size() == 1U);
    BOOST_TEST(warnings.texts.front().find(saved.files[1]) != std::string::npos);
  };
  std::fstream file(saved.files[1], std::ios::in | std::ios::out | std::ios::binary);
  const auto put = [&](std::size_t at, int byte) {
    file.seekp(static_cast<std::streamoff>(at)).put(static_cast<char>(byte)).flush();
    BOOST_REQUIRE(file.good());
  };
  // A bit of each byte of the header, and of some bytes of the tensors, which one checksum covers.
  constexpr std::size_t stride = tests::sanitized ? 7 : 1;
  std::uint64_t header = 0;
  std::memcpy(&header, whole.data(), sizeof header);
  header += sizeof header;
  BOOST_REQUIRE(header < whole.size());
  for (std::size_t at = 0; at < whole.size(); at += at < header ? stride : 13 * stride) {
    put(at, whole[at] ^ (1 << at % 8));
    BOOST_TEST_CONTEXT("byte " << at) { check_skipped(); }
    put(at, whole[at]);
  }
  BOOST_TEST(saved.resumable_step() == 6);
  for (const std::size_t size : {whole.size() - 1, whole.size() / 2, std::size_t{5}, std::size_t{0}}) {
    fs::resize_file(saved.files[1], size);
    check_skipped();
  }
  save_safetensors(saved.files[1], run.model.state_dict());  // intact, but not a checkpoint
  check_skipped();
  {
    const Warnings none_is_printed;
    BOOST_TEST(saved.resumable_step() == 5);
  }

  write_file(saved.files[0], "");
  const Warnings warnings;
  const std::string before = run.state();
  BOOST_CHECK_EXCEPTION(
      checkpoint.load(), IoError,
      says("no checkpoint there is sound; restore one, or remove the folder", saved.files[1]));
  BOOST_TEST((run.state() == before));
}

BOOST_AUTO_TEST_CASE(a_checkpoint_of_another_run_changes_nothing) {
  const TwoSaved saved;
  manual_seed(4);
  const auto check_refused = [&](CheckpointParts parts, auto... texts) {
    TrainingRun run(99);
    std::optional<Adam> own;
    if (!parts.optimizer)
      parts.optimizer = parts.module ? &own.emplace(parts.module->parameters()) : &run.optimizer;
    if (!parts.module) parts.module = &run.model;
    LinearWarmup warmup(*parts.optimizer, {.warmup_steps = 5});
    CosineAnnealingLR cosine(*parts.optimizer, {.T_max = 40});
    ReduceLROnPlateau plateau(*parts.optimizer, {.patience = 3});
    if (parts.schedulers.empty()) parts.schedulers = {&warmup, &cosine, &plateau};
    if (!parts.loader) parts.loader = &run.loader;
    parts.generator = &run.noise;
    const auto state = [&] {
      return run.state() + bytes_of(parts.module->state_dict()) + bytes_of(parts.optimizer->state_dict()) +
             bytes_of(parts.schedulers.back()->state_dict()) + message("{}", parts.loader->position().batch);
    };
    Checkpoint checkpoint(saved.path, parts);
    const std::string before = state();
    BOOST_CHECK_EXCEPTION(checkpoint.load(), IoError, says(saved.files[1], texts...));
    BOOST_TEST((state() == before));
  };
  Sequential wider(Linear(3, 9), ReLU(), Dropout(0.5), Linear(9, 2));
  check_refused({.module = &wider}, "does not fit", "0.weight has shape (8, 3), not (9, 3)");
  Sequential deeper(Linear(3, 8), ReLU(), Linear(8, 2), Linear(2, 2));
  check_refused({.module = &deeper}, "missing: 2.weight, 2.bias");
  Sequential precise(Linear(3, 8), ReLU(), Dropout(0.5), Linear(8, 2));
  precise.to(DType::float64);
  check_refused({.module = &precise}, "0.weight is float32 there, but float64 here");
  // Parts that fit are restored to their old values if a later part does not fit.
  TrainingRun other(98);
  const auto [decayed, others] = decay_groups(other.model);
  SGD sgd({{decayed, {.lr = 0.1}}, {others, {.lr = 0.1}}});
  check_refused({.module = &other.model, .optimizer = &sgd}, "does not fit",
                "the state is that of the class Adam, but this one is SGD");
  Adam one_group(other.model.parameters());
  check_refused({.module = &other.model, .optimizer = &one_group}, "does not fit",
                "parameter groups, but the optimiser has 1");
  LambdaLR third(other.optimizer, {.lr_lambda = [](std::int64_t) { return 1.0; }});
  const auto scheduled = [&](const std::vector<LRScheduler*>& schedulers) {
    return CheckpointParts{.module = &other.model, .optimizer = &other.optimizer, .schedulers = schedulers};
  };
  check_refused(scheduled({&other.warmup, &other.cosine, &other.plateau, &third}),
                "it has 3 schedules, but the parts have 4");
  check_refused(scheduled({&other.warmup, &other.cosine, &third}), "but this one is LambdaLR");
  check_refused(
      scheduled({&other.warmup}),
      "does not fit: it has 3 schedules, but the parts have 1; give this Checkpoint what it was saved with");
  DataLoader longer(Stream(), {.batch_size = 3, .seed = 1});
  check_refused({.loader = &longer}, "35 rows in 9 batches, but this one has 35 rows in 12");
  DataLoader in_order(Stream(), {.batch_size = 4, .seed = 1});
  check_refused({.loader = &in_order}, "whose rows are shuffled, but those of this one are in order");
}

BOOST_AUTO_TEST_CASE(parts_that_were_not_saved_are_named) {
  const TemporaryFolder folder;
  Sequential model(Linear(3, 2));
  SGD optimizer(model.parameters(), {.lr = 0.1});
  StepLR schedule(optimizer, {.step_size = 1});
  ExponentialMovingAverage average(model);
  EarlyStopping stop;
  const auto refused = [&](const char* name, const CheckpointParts& parts, const std::string& cause) {
    const std::string text = thrown_text<IoError>([&] { Checkpoint(folder / name, parts).load(); });
    BOOST_TEST(contains(text, cause + "; give this Checkpoint what it was saved with"), text);
  };
  Checkpoint(folder / "module", {.module = &model}).save(1);
  refused("module", {.module = &model, .average = &average}, "it has no average");
  refused("module", {.early_stopping = &stop}, "it has no early stopping");
  refused("module", {.optimizer = &optimizer}, "it has no optimiser");
  Checkpoint(folder / "optimiser", {.optimizer = &optimizer}).save(1);
  refused("optimiser", {.optimizer = &optimizer, .schedulers = {&schedule}},
          "it has no schedule, but the parts have 1");
  Checkpoint(folder / "schedule", {.optimizer = &optimizer, .schedulers = {&schedule}}).save(1);
  const Checkpoint::Loaded loaded = *Checkpoint(folder / "schedule", {}).load();  // less is accepted
  BOOST_TEST(loaded.step == 1);
  refused("schedule", {.optimizer = &optimizer}, "it has 1 schedule, but the parts have none");
  refused("schedule", {.module = &model}, "it has no module");
}

BOOST_AUTO_TEST_CASE(batches_of_another_size_are_refused_although_there_are_as_many) {
  const TemporaryFolder folder;
  const auto loader = [](std::int64_t batch_size) {
    return DataLoader(Dataset(ones({4, 2}), ones({4, 1})), {.batch_size = batch_size, .seed = 1});
  };
  DataLoader two = loader(2), three = loader(3);
  const std::string path = Checkpoint(folder / "a", {.loader = &two}).save(1);
  BOOST_CHECK_EXCEPTION(Checkpoint(folder / "a", {.loader = &three}).load(), IoError,
                        says("is of a loader with batch_size 2, but this one has 3"));
  // The entry of earlier versions lacked batch size and order.
  StateDict state = load_safetensors(path);
  state["loader"] = slice(state.at("loader"), 0, 0, 5);
  uLong sum = 0;
  const auto add = [&](const std::string& text) {
    sum = ::crc32(sum, reinterpret_cast<const Bytef*>(text.data()), static_cast<uInt>(text.size()));
  };
  add("1 {}");
  for (const auto& [name, entry] : state) {
    add(message("{} {} {}", name, entry.dtype(), entry.shape()));
    const auto numbers = entry.data<std::int64_t>();
    add({reinterpret_cast<const char*>(numbers.data()), numbers.size_bytes()});
  }
  save_safetensors(path, state,
                   {{"retort_checkpoint", "1"},
                    {"step", "1"},
                    {"json", "{}"},
                    {"checksum", message("crc32:{}", std::size_t{sum})}});
  BOOST_TEST(Checkpoint(folder / "a", {.loader = &three}).load()->step == 1);
}

BOOST_AUTO_TEST_CASE(parts_that_are_not_named_are_left_alone) {
  const TwoSaved saved;
  TrainingRun run(99);
  const std::string optimizer = bytes_of(run.optimizer.state_dict());
  BOOST_TEST(Checkpoint(saved.path, {.module = &run.model}).load()->step == 6);
  BOOST_TEST((bytes_of(run.optimizer.state_dict()) == optimizer));
  BOOST_TEST(run.loader.position().batch == 0);

  const TemporaryFolder folder;
  Checkpoint(folder / "a", {.module = &run.model}).save(1);
  BOOST_CHECK_EXCEPTION(Checkpoint(folder / "a", {.loader = &run.loader}).load(), IoError,
                        says("holds no loader"));
}

BOOST_AUTO_TEST_CASE(wrong_arguments_are_told_before_anything_happens) {
  const TemporaryFolder folder;
  TrainingRun run;
  BOOST_CHECK_EXCEPTION(Checkpoint(folder / "a", {}, {.keep = 0}), ValueError, says("keep is 0"));
  const auto refused = [&](const CheckpointParts& parts, const char* rest) {
    const std::string text = thrown_text<ValueError>([&] { Checkpoint(folder / "a", parts); });
    BOOST_TEST(text.starts_with(message("Checkpoint: {}", rest)), text);
  };
  TrainingRun other;
  refused({.schedulers = {nullptr}}, "scheduler 0 is null");
  refused({.schedulers = {&other.cosine}}, "scheduler 0 is given without its optimiser; add it");
  refused({.optimizer = &run.optimizer, .schedulers = {&run.warmup, &other.cosine}},
          "scheduler 1 sets the rates of another optimiser");
  refused({.module = &run.model, .optimizer = &other.optimizer}, "the optimiser has no parameter of the");
  refused({.module = &run.model, .average = &other.average}, "the average is of another module");
  Checkpoint checkpoint(folder / "a", run.parts());
  BOOST_CHECK_EXCEPTION(checkpoint.save(-1), ValueError, says("step is -1"));
  BOOST_CHECK_EXCEPTION(checkpoint.save(1, "{"), ValueError, says("not valid JSON"));
  BOOST_TEST(folder.entries() == 0U);
  BOOST_CHECK_THROW(checkpoint.load(folder / "missing"), IoError);
}

BOOST_AUTO_TEST_SUITE_END()
