// The tool on a failing disk: each system call of a run fails in turn. RETORT_FAULTS=all tries every call
// with every error; the default is a sample.
#include <array>
#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <retort/framework/train/checkpoint.hpp>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "program.hpp"
#include "tests_support.hpp"

int distill_main(int argc, char** argv);  // the tool's main(), renamed by CMakeLists.txt

namespace {

namespace fs = std::filesystem;
using namespace retort::tests;

/// Captures the output to a stream during its lifetime.
class Caught {
 public:
  explicit Caught(std::ostream& stream) : stream_(stream), before_(stream.rdbuf(text_.rdbuf())) {}
  ~Caught() { stream_.rdbuf(before_); }
  Caught(const Caught&) = delete;
  Caught& operator=(const Caught&) = delete;
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_ = {};
  std::ostream& stream_;
  std::streambuf* before_;
};

/// Runs the tool within this process, where system calls can be made to fail. Arguments contain no spaces.
Outcome run_here(const std::string& arguments) {
  std::vector<std::string> words = {"distill"};
  std::istringstream rest(arguments);
  for (std::string word; rest >> word;) words.push_back(word);
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  const Caught out(std::cout), err(std::cerr);
  const int status = distill_main(static_cast<int>(pointers.size()), pointers.data());
  return {status, out.text(), err.text()};
}

/// How a run begins: in an empty folder, over a stopped run, or by resuming it.
enum class Begin { fresh, again, resumed };

struct Disk {
  Disk() { write_image_set(folder.path()); }

  /// Makes the nth such call of a run fail, then resumes the run. Returns true if the call occurred.
  bool fail(const std::string& arguments, Begin begin, SystemCall call, int nth, int error, bool lasts) {
    const std::string out = folder / "out", flags = arguments + " --quiet --out " + out;
    Outcome outcome;
    bool happened = false;
    {
      const FailingCall failing(call, nth, error, lasts);
      outcome = run_here(flags + (begin == Begin::resumed ? " --resume" : ""));
      happened = failing.happened();
    }
    // A file that is only read, or closed after it was flushed, may fail to close; and if the newest
    // checkpoint cannot be opened, the previous one is used.
    const bool bearable = call == SystemCall::close || (call == SystemCall::open && begin == Begin::resumed);
    BOOST_TEST((outcome.status == 0 || (outcome.status == 1 && happened)));
    BOOST_TEST((outcome.status == 1 || !happened || bearable));
    if (outcome.status != 0) {
      ++failed;
      BOOST_TEST(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1, outcome.err);
      BOOST_TEST(outcome.err.starts_with("distill: "), outcome.err);
      BOOST_TEST(contains(outcome.err, folder.path()), outcome.err);
      BOOST_TEST(contains(outcome.err, std::generic_category().message(error)), outcome.err);
      const auto loaded = retort::Checkpoint(out + "/checkpoints", {}).load();
      BOOST_TEST((loaded || begin == Begin::fresh));
      // The disk works again.
      outcome = run_here(flags + (loaded ? " --resume" : ""));
      BOOST_TEST(outcome.status == 0, outcome.err);
    }
    check_same_run(out, folder / "whole");
    return happened;
  }

  TemporaryFolder folder = {};
  int failed = 0;
};

BOOST_AUTO_TEST_SUITE(example_distill_faults)

BOOST_AUTO_TEST_CASE(whatever_call_fails_the_run_tells_and_can_be_resumed) {
  const char* const wanted = std::getenv("RETORT_FAULTS");
  const bool all = wanted && std::string(wanted) == "all";
  Disk disk;
  const std::string data = " --data " + disk.folder.path(), logits = disk.folder / "logits";
  const std::string teacher = data + " --teacher-width 4 --epochs 2 --batch-size 150";
  const std::string students = data + " --student-width 3 --student-epochs 2 --student-images 60 --seeds 1";
  const std::array<std::string, 4> uses = {
      "train-teacher --save-logits " + logits + teacher, teacher + students,
      "teach --teacher " + (disk.folder / "teacher") + students,
      "teach --teacher-logits " + (disk.folder / "teacher_logits") + students};
  for (const std::string& use : uses) {
    const std::string flags = use + " --log-steps 1 --checkpoint-seconds 0";
    const std::string out = disk.folder / "out", whole = disk.folder / "whole", half = disk.folder / "half";
    fs::remove_all(whole);
    BOOST_REQUIRE(run_here(flags + " --quiet --out " + whole).status == 0);
    if (!fs::exists(disk.folder / "teacher"))
      for (const char* file : {"teacher", "teacher_logits"})
        fs::copy_file(whole + '/' + file + ".safetensors", disk.folder / file);
    // A run that was stopped by this failure.
    fs::remove_all(half);
    {
      const FailingCall failing(SystemCall::fsync, 20, EIO);
      BOOST_REQUIRE(run_here(flags + " --quiet --out " + half).status == 1);
    }
    int calls = 0;
    for (const Begin begin : {Begin::fresh, Begin::again, Begin::resumed})
      for (const SystemCall call : {SystemCall::write, SystemCall::fsync, SystemCall::rename,
                                    SystemCall::open, SystemCall::close, SystemCall::ftruncate}) {
        const int stride = all ? 1 : call == SystemCall::write ? 29 : call == SystemCall::ftruncate ? 1 : 7;
        for (int nth = 0, happened = 1; happened; nth += stride)
          for (int kind = all ? 0 : nth / stride % 4, end = all ? 4 : kind + 1; kind < end; ++kind) {
            const int error = kind % 2 ? EIO : ENOSPC;
            BOOST_TEST_CONTEXT(flags << (begin == Begin::fresh   ? ""
                                         : begin == Begin::again ? ", again"
                                                                 : " --resume")
                                     << ": call " << static_cast<int>(call) << ", number " << nth
                                     << (kind / 2 ? " and on" : "") << ", error " << error) {
              fs::remove_all(out);
              if (begin != Begin::fresh)
                fs::copy(half, out, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
              happened = disk.fail(flags, begin, call, nth, error, kind / 2 != 0);
              calls += happened;
            }
          }
      }
    BOOST_TEST(calls > 20);
  }
  BOOST_TEST_MESSAGE(disk.failed << " runs failed, and continued once the disk worked again");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
