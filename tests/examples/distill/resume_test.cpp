// Stopped runs: resumed, they end with the bits of a run that was not stopped.
#include <sys/wait.h>

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "distill/report/table.hpp"
#include "distill/run/experiment.hpp"
#include "program.hpp"
#include "tests_support.hpp"

namespace {

namespace fs = std::filesystem;
using namespace retort::tests;
using distill::Options;

/// Raises SIGINT at a given step.
class StoppedRun : public distill::Run {
 public:
  StoppedRun(const Options& options, const distill::Data& data, std::int64_t stop)
      : Run(options, data), steps_left_(stop) {}
  void step(const distill::Position& at, double loss) override {
    if (--steps_left_ == 0) std::raise(SIGINT);
    Run::step(at, loss);
  }

 private:
  std::int64_t steps_left_;
};

struct Experiment {
  Experiment() {
    write_image_set(folder.path());
    data = distill::load_data(folder.path());
    options.data = folder.path();
    options.seed = 1;
    options.seeds = 2;
    options.batch_size = 32;
    options.teacher_width = 16;
    options.teacher.epochs = 2;
    options.student_width = 8;
    options.student_images = 60;
    options.alone.epochs = options.distilled.epochs = 3;
    options.distilled.dropout = 0.1;
    options.log_steps = 3;
    options.quiet = true;
  }

  /// Runs until step `stop`, counted from the starting step; returns true if the run finished.
  bool run(const std::string& out, std::int64_t stop, bool resume) {
    options.out = folder / out;
    options.resume = resume;
    try {
      StoppedRun run(options, data, stop);
      distill::Result result = distill::run_experiment(data, options, run);
      retort::AtomicFile::write_whole("--out", run.last_file(), distill::json_of(result));
      return true;
    } catch (const retort::Interrupted&) {
      return false;
    }
  }

  void check_same(const std::string& one, const std::string& other) const {
    check_same_run(folder / other, folder / one);
  }

  TemporaryFolder folder = {};
  distill::Data data = {};
  Options options = {};
};

constexpr std::int64_t never = 1 << 30;

/// The number of the newest checkpoint; 0 without one.
int newest_in(const std::string& out) {
  std::error_code error;
  const std::string name = fs::read_symlink(out + "/checkpoints/last.safetensors", error).string();
  return error ? 0 : std::stoi(name);
}

/// Waits for a checkpoint of at least this number.
void wait_for(const std::string& out, int number) {
  for (int i = 0; i < 20000 && newest_in(out) < number; ++i)
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  BOOST_REQUIRE_GE(newest_in(out), number);
}

BOOST_AUTO_TEST_SUITE(example_distill_resume)

BOOST_AUTO_TEST_CASE(a_run_stopped_anywhere_ends_with_the_same_bits) {
  Experiment made;
  BOOST_TEST(made.run("whole", never, false));
  const std::int64_t steps = 2 * 10 + 2 * 2 * 3 * 2;  // of the teacher, and of four students
  // In the middle of an epoch, at its end and beginning, at the first and the last step of a network.
  for (const std::int64_t stop : {1, 7, 10, 11, 20, 21, 22, 26, 27, 38, 43, 44}) {
    BOOST_REQUIRE(stop <= steps);
    BOOST_TEST(!made.run("stopped", stop, false));
    BOOST_TEST(made.run("stopped", never, true));
    made.check_same("whole", "stopped");
  }
  BOOST_TEST(made.run("stopped", steps + 1, false), "there are no more steps than that");
}

BOOST_AUTO_TEST_CASE(a_run_stopped_again_and_again_ends_with_the_same_bits) {
  Experiment made;
  BOOST_TEST(made.run("whole", never, false));
  BOOST_TEST(!made.run("stopped", 3, false));
  int parts = 1;
  while (!made.run("stopped", 3, true)) ++parts;
  BOOST_TEST(parts == 44 / 3);
  made.check_same("whole", "stopped");
  BOOST_TEST(made.run("stopped", never, true), "a run that has ended can be resumed, too");
  made.check_same("whole", "stopped");
}

BOOST_AUTO_TEST_CASE(what_came_after_the_checkpoint_is_forgotten) {
  Experiment made;
  BOOST_TEST(made.run("whole", never, false));
  BOOST_TEST(!made.run("stopped", 15, false));
  const std::string metrics = made.folder / "stopped/metrics.jsonl";
  write_file(metrics, read_file(metrics) + "{\"event\":\"step\",\"half a li");
  BOOST_TEST(made.run("stopped", never, true));
  made.check_same("whole", "stopped");

  BOOST_TEST(!made.run("stopped", 15, false));
  write_file(metrics, "");
  BOOST_TEST(contains(thrown_text<retort::IoError>([&] { made.run("stopped", never, true); }), "to be kept"));
}

BOOST_AUTO_TEST_CASE(where_the_newest_checkpoint_is_damaged_the_one_before_serves) {
  Experiment made;
  BOOST_TEST(made.run("whole", never, false));
  BOOST_TEST(!made.run("stopped", 15, false));
  BOOST_TEST(!made.run("stopped", 9, true));
  const std::string newest = made.folder / "stopped/checkpoints/last.safetensors";
  const std::string sound = read_file(newest);
  write_file(newest, std::string_view(sound).substr(0, sound.size() - 1));
  BOOST_TEST(made.run("stopped", never, true));
  made.check_same("whole", "stopped");
}

BOOST_AUTO_TEST_CASE(a_run_is_not_resumed_as_another) {
  Experiment made;
  const auto refusal = [&](auto change) {
    const Options before = made.options;
    change(made.options);
    const std::string said = thrown_text<retort::Error>([&] { made.run("stopped", never, true); });
    made.options = before;
    return said;
  };
  const auto nothing = [](Options&) {};
  BOOST_TEST(contains(refusal(nothing), "holds no checkpoint"));
  BOOST_TEST(!fs::exists(made.folder / "stopped"));
  BOOST_TEST(!made.run("stopped", 15, false));
  BOOST_TEST(contains(refusal([](Options& o) { o.teacher.epochs = 3; }), "has teacher.epochs 2, not 3"));
  BOOST_TEST(contains(refusal([](Options& o) { o.alpha = 0.5; }), "has distillation.alpha 1.0, not 0.5"));
  BOOST_TEST(contains(refusal([](Options& o) { o.seed = 9; }), "has seed 1, not 9"));
  BOOST_TEST(contains(refusal([](Options& o) { o.command = distill::Command::train_teacher; }),
                      "has command distill, not train-teacher"));
  const distill::Data data = made.data;
  write_images(made.folder.path(), "train", 300, 3);
  made.data = distill::load_data(made.folder.path());
  BOOST_TEST(contains(refusal(nothing), "has data with the checksums"));
  made.data = data;
  // Settings that do not change the result may differ.
  made.options.threads = 1;
  made.options.checkpoint_seconds = 1;
  made.options.data = "moved";
  BOOST_TEST(made.run("stopped", never, true));
}

BOOST_AUTO_TEST_CASE(a_new_run_forgets_the_checkpoints_of_an_earlier_one) {
  Experiment made;
  BOOST_TEST(!made.run("out", 30, false));
  const int before = newest_in(made.folder / "out");
  made.options.teacher.epochs = 1;
  BOOST_TEST(!made.run("out", 2, false));
  BOOST_TEST(newest_in(made.folder / "out") == before + 2);
  for (const auto& entry : fs::directory_iterator(made.folder / "out/checkpoints"))
    BOOST_TEST((entry.is_symlink() || std::stoi(entry.path().filename().string()) > before));
  BOOST_TEST(made.run("out", never, true));
}

BOOST_AUTO_TEST_CASE(ctrl_c_and_sigkill_lose_nothing) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  const std::string flags = quick(folder, "whole") + "--seeds 2 --log-steps 3";
  BOOST_TEST(run(flags).status == 0);
  const std::string out = folder / "stopped", err = folder / "err";
  const std::string flags_to_stop =
      quick(folder, "stopped") + "--seeds 2 --log-steps 3 --checkpoint-seconds 0 ";
  bool resume = false;
  for (const int checkpoints : {2, 5, 9, 14, 19, 30}) {
    const Process process(flags_to_stop + (resume ? "--resume" : ""), err);
    wait_for(out, checkpoints);
    BOOST_TEST(WIFSIGNALED(process.end_with(SIGKILL)), read_file(err));
    resume = true;
  }
  {
    const Process process(flags_to_stop + "--resume", err);
    wait_for(out, newest_in(out) + 1);
    const int status = process.end_with(SIGINT);
    BOOST_TEST((WIFEXITED(status) && WEXITSTATUS(status) == 130), read_file(err));
  }
  // It prints how to resume.
  const std::string said = read_file(err);
  const std::size_t command = said.rfind("  " RETORT_DISTILL " ");
  BOOST_REQUIRE(command != std::string::npos);
  BOOST_TEST(contains(said, "distill: stopped"));
  const std::string line = said.substr(command, said.find('\n', command) - command);
  BOOST_TEST(line.find("--resume") == line.rfind("--resume"));
  const Outcome outcome = run_command(line);
  BOOST_TEST(outcome.status == 0, outcome.err);
  check_same_run(out, folder / "whole");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
