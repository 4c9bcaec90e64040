// SIGKILL at random moments: RETORT_KILLS sets how many (default 20).
#include <sys/mman.h>
#include <sys/wait.h>

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <thread>

#include "framework/io/files.hpp"
#include "training_run.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

/// A number that a child process writes and its parent reads.
class SharedNumber {
 public:
  SharedNumber()
      : number_(static_cast<volatile std::int64_t*>(::mmap(
            nullptr, sizeof(std::int64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    BOOST_REQUIRE(number_ != MAP_FAILED);
  }
  ~SharedNumber() { ::munmap(const_cast<std::int64_t*>(number_), sizeof(std::int64_t)); }
  SharedNumber(const SharedNumber&) = delete;
  SharedNumber& operator=(const SharedNumber&) = delete;
  volatile std::int64_t& operator*() const { return *number_; }

 private:
  volatile std::int64_t* number_;
};

constexpr std::int64_t steps = 40;

/// The work of a process that is restarted after each kill: it resumes, trains, and saves after every step.
void train_in_process(const std::string& path, const SharedNumber& saved) {
  std::optional<TrainingRun> run(std::in_place, 99);
  std::optional<Checkpoint> checkpoint(std::in_place, path, run->parts());
  if (const auto loaded = checkpoint->load()) {
    run->resume(*loaded);
  } else {
    run.emplace(1);
    checkpoint.emplace(path, run->parts());
  }
  run->train(steps, [&] {
    run->save(*checkpoint, run->step % 3 == 0);
    *saved = run->step;
  });
}

/// Runs it in a child, which is killed after this many microseconds, if given. Returns true if it finished.
bool finishes(const std::string& path, const SharedNumber& saved, std::optional<std::uint64_t> microseconds) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      train_in_process(path, saved);
      ::_exit(0);
    } catch (...) {
      ::_exit(1);
    }
  }
  BOOST_REQUIRE(child > 0);
  if (microseconds) {
    std::this_thread::sleep_for(std::chrono::microseconds(*microseconds));
    BOOST_REQUIRE(::kill(child, SIGKILL) == 0);
  }
  int status = 0;
  BOOST_REQUIRE(::waitpid(child, &status, 0) == child);
  BOOST_REQUIRE((WIFSIGNALED(status) || WEXITSTATUS(status) == 0));
  return WIFEXITED(status);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(killed_run)

BOOST_AUTO_TEST_CASE(a_run_killed_at_random_moments_ends_with_the_bits_of_an_undisturbed_one) {
  const char* const wanted = std::getenv("RETORT_KILLS");
  const int kills = wanted ? std::atoi(wanted) : 20;
  TrainingRun undisturbed;
  std::vector<std::string> states{undisturbed.state()};
  undisturbed.train(steps, [&] { states.push_back(undisturbed.state()); });

  const SharedNumber saved;
  Generator moments(static_cast<std::uint64_t>(::getpid()));
  int killed = 0, in_writing = 0, ends = 0;
  while (killed < kills || ends == 0) {
    const TemporaryFolder folder;
    const std::string path = folder / "checkpoints";
    *saved = 0;
    for (bool ended = false; !ended;) {
      ended = finishes(path, saved, killed < kills ? std::optional(moments.below(40'000)) : std::nullopt);
      if (!ended) ++killed;
      TrainingRun run(99);
      Checkpoint checkpoint(path, run.parts());
      const auto loaded = checkpoint.load();
      BOOST_REQUIRE((loaded || *saved == 0));  // the kill may have come before the first save
      if (!loaded) continue;
      BOOST_TEST((loaded->step == *saved || loaded->step == *saved + 1));
      *saved = loaded->step;
      run.resume(*loaded);
      BOOST_REQUIRE((run.state() == states[static_cast<std::size_t>(run.step)]));
      BOOST_REQUIRE((!ended || run.step == steps));
      ends += ended;
      for (const auto& entry : std::filesystem::directory_iterator(path)) {
        const bool temporary = entry.path().filename().string().starts_with(".");
        in_writing += temporary;
        BOOST_TEST((temporary || std::filesystem::exists(entry.path())));  // no link points at nothing
      }
    }
  }
  BOOST_TEST_MESSAGE(killed << " kills, " << in_writing << " of them left a file half written; " << ends
                            << " runs came to their end");
}

BOOST_AUTO_TEST_SUITE_END()
