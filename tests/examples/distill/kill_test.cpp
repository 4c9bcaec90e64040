// The tool on real images, killed at random moments: RETORT_KILLS sets how often (default 10).
#include <zlib.h>

#include <array>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <retort/framework/base/random.hpp>
#include <retort/framework/train/checkpoint.hpp>
#include <thread>

#include "program.hpp"
#include "tests_support.hpp"

namespace {

namespace fs = std::filesystem;
using namespace retort::tests;
using Clock = std::chrono::steady_clock;

/// The first of Fashion-MNIST's images or labels; false if they are missing.
bool write_first(const std::string& folder, const std::string& name, std::uint32_t count,
                 std::uint32_t dimensions) {
  const gzFile file = ::gzopen((std::string(RETORT_FASHION_MNIST "/") + name + ".gz").c_str(), "rb");
  if (!file) return false;
  const std::uint32_t header = 4 + 4 * dimensions, size = dimensions == 3 ? 28 * 28 : 1;
  std::string bytes(header + count * size, '\0');
  const int read = ::gzread(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  ::gzclose(file);
  BOOST_REQUIRE(read == static_cast<int>(bytes.size()));
  bytes.erase(0, header);
  write_idx(folder + '/' + name,
            dimensions == 3 ? std::vector<std::uint32_t>{count, 28, 28} : std::vector{count}, bytes);
  return true;
}

void write_real_image_set(const std::string& folder) {
  const bool there = write_first(folder, "train-images-idx3-ubyte", 1500, 3) &&
                     write_first(folder, "train-labels-idx1-ubyte", 1500, 1) &&
                     write_first(folder, "t10k-images-idx3-ubyte", 400, 3) &&
                     write_first(folder, "t10k-labels-idx1-ubyte", 400, 1);
  if (there) return;
  BOOST_TEST_MESSAGE("no Fashion-MNIST at " RETORT_FASHION_MNIST "; drawn images take its place");
  write_image_set(folder);
}

/// A way to use the tool.
struct Use {
  std::string name;
  std::string flags;  ///< without the run's folder
  std::chrono::microseconds time = {};
};

BOOST_AUTO_TEST_SUITE(example_distill_killed)

BOOST_AUTO_TEST_CASE(a_run_killed_at_random_moments_ends_with_the_bits_of_an_undisturbed_one) {
  const char* const wanted = std::getenv("RETORT_KILLS");
  const int kills = wanted ? std::atoi(wanted) : 10;
  const TemporaryFolder folder;
  write_real_image_set(folder.path());
  const std::string logits = folder / "logits.safetensors", said = folder / "said";
  const std::string teacher =
      "--teacher-width 64 --epochs 12 --batch-size 350 --log-steps 3 --data '" + folder.path() + "' ";
  const std::string students =
      "--student-width 32 --student-epochs 5 --distilled-dropout 0.1 --batch-size 64 --log-steps 3 --seeds 1 "
      "--student-images " +
      std::string(fs::exists(RETORT_FASHION_MNIST) ? "600" : "200") + " --data '" + folder.path() + "' ";
  std::array<Use, 4> uses = {
      Use{"train-teacher", "train-teacher " + teacher + "--save-logits '" + logits + "' "},
      Use{"distill", teacher + students},
      Use{"teach-file",
          "teach " + students + "--teacher '" + (folder / "train-teacher/teacher.safetensors") + "' "},
      Use{"teach-logits", "teach " + students + "--teacher-logits '" + (folder / "kept.safetensors") + "' "}};
  for (Use& use : uses) {
    const Clock::time_point start = Clock::now();
    const Outcome outcome =
        run(use.flags + "--checkpoint-seconds 0 --threads 1 --out '" + (folder / use.name) + "'");
    BOOST_REQUIRE_MESSAGE(outcome.status == 0, outcome.err);
    use.time = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
    if (fs::exists(logits)) fs::rename(logits, folder / "kept.safetensors");
  }

  retort::Generator random(static_cast<std::uint64_t>(::getpid()));
  int killed = 0, before = 0, in_writing = 0, ended = 0;
  const std::string out = folder / "killed", checkpoints = out + "/checkpoints";
  const auto newest_number = [&] {
    const auto last = retort::Checkpoint(checkpoints, {}).last();
    return last ? std::stoi(fs::path(*last).filename().string()) : 0;
  };
  for (std::size_t chain = 0; killed < kills || ended < static_cast<int>(uses.size()); ++chain) {
    // Every other run starts over in the folder of the previous one.
    Use& use = uses[chain / 2 % uses.size()];
    if (chain % 2 == 0) fs::remove_all(out);
    fs::remove(logits);
    const int first = newest_number() + 1;
    int newest = first - 1;
    for (bool end = false; !end;) {
      // The number of threads and how often checkpoints are written may differ from part to part.
      const std::string flags = use.flags + "--out '" + out + "' --threads " + (random.below(2) ? "2" : "1") +
                                " --checkpoint-seconds " + (random.below(2) ? "0" : "0.05") +
                                (newest >= first ? " --resume" : "");
      const Process process(flags, said);
      if (killed < kills)
        std::this_thread::sleep_for(
            std::chrono::microseconds(random.below(static_cast<std::uint64_t>(use.time.count()))));
      const int status = process.end_with(killed < kills ? SIGKILL : 0);
      end = WIFEXITED(status);
      BOOST_REQUIRE_MESSAGE((!end || WEXITSTATUS(status) == 0), flags << ": " << read_file(said));
      if (!end) ++killed;
      // Most runs are killed and some finish, however busy the machine is.
      use.time = end ? use.time * 9 / 10 : use.time * 21 / 20;
      // The newest checkpoint loads and is at least as new as the previous one.
      const int number = newest_number();
      BOOST_TEST(number >= newest);
      newest = number;
      before += newest < first;
      if (newest == 0) continue;
      const auto loaded = retort::Checkpoint(checkpoints, {}).load();
      BOOST_TEST(loaded->path == *retort::Checkpoint(checkpoints, {}).last());
      for (const std::string& place : {out, checkpoints})
        for (const auto& entry : fs::directory_iterator(place))
          in_writing += entry.path().filename().string().starts_with(".retort-");
    }
    ++ended;
    BOOST_TEST_CONTEXT(use.name) {
      check_same_run(out, folder / use.name);
      if (use.name == "train-teacher")
        BOOST_TEST(read_file(logits) == read_file(folder / "kept.safetensors"));
      for (const auto& entry : fs::directory_iterator(checkpoints))
        BOOST_TEST(!entry.path().filename().string().starts_with("."));
    }
  }
  BOOST_TEST_MESSAGE(killed << " kills, " << before << " of them before there was a checkpoint of the run, "
                            << in_writing << " files left half written; " << ended
                            << " runs came to their end");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
