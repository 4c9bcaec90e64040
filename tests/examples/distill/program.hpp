// The program as a user runs it, on a small set of images.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>

#include "image_set.hpp"
#include "tests_support.hpp"

namespace retort::tests {

struct Outcome {
  int status = -1;
  std::string out = {};
  std::string err = {};
};

/// Runs a shell command.
inline Outcome run_command(const std::string& words) {
  const TemporaryFolder folder;
  const std::string command = words + " >'" + (folder / "out") + "' 2>'" + (folder / "err") + "'";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(folder / "out"), read_file(folder / "err")};
}

inline Outcome run(const std::string& arguments) { return run_command("'" RETORT_DISTILL "' " + arguments); }

/// The program in the background; its output goes to the file `said`.
class Process {
 public:
  Process(const std::string& arguments, const std::string& said) : id_(::fork()) {
    BOOST_REQUIRE(id_ >= 0);
    if (id_ > 0) return;
    const int file = ::open(said.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    ::dup2(file, STDERR_FILENO);
    ::dup2(file, STDOUT_FILENO);
    ::execl("/bin/sh", "sh", "-c", ("exec '" RETORT_DISTILL "' " + arguments).c_str(), nullptr);
    ::_exit(127);
  }
  /// Its status, as waitpid() returns it.
  int end_with(int signal) const {
    ::kill(id_, signal);
    int status = 0;
    BOOST_REQUIRE(::waitpid(id_, &status, 0) == id_);
    return status;
  }

 private:
  pid_t id_;
};

/// Flags of the images in `folder` and a run folder below it.
inline std::string places(const TemporaryFolder& folder, const std::string& out) {
  return "--data '" + folder.path() + "' --out '" + (folder / out) + "' ";
}

constexpr const char* quick_teacher = "--epochs 2 --teacher-width 16 --batch-size 32 ";
constexpr const char* quick_students =
    "--student-width 8 --student-epochs 3 --student-images 60 --batch-size 32 ";

/// Flags of a very short run on the images in `folder`.
inline std::string quick(const TemporaryFolder& folder, const std::string& out) {
  return places(folder, out) + quick_teacher + quick_students;
}

inline nlohmann::json result_in(const TemporaryFolder& folder, const std::string& out) {
  return nlohmann::json::parse(read_file(folder / (out + "/result.json")));
}

/// The files of a run's folder by name, with times removed. Files that name the machine or the folder are
/// left out.
inline std::map<std::string, std::string> traces_of(const std::string& out) {
  std::map<std::string, std::string> traces;
  for (const auto& entry : std::filesystem::directory_iterator(out)) {
    const std::string name = entry.path().filename().string();
    std::string& trace = traces[name];
    if (name == "checkpoints" || name == "report.html" || name == "config.json" || name == "environment.json")
      continue;
    trace = read_file(entry.path().string());
    if (name != "result.json" && name != "timing.jsonl") continue;
    std::istringstream text(std::exchange(trace, {}));
    for (nlohmann::json json; text >> std::ws && !text.eof();) {
      text >> json;
      json.erase("seconds");
      trace += json.dump() + '\n';
    }
  }
  return traces;
}

inline void check_same_run(const std::string& out, const std::string& expected) {
  const auto traces = traces_of(out), all = traces_of(expected);
  for (const auto& [name, trace] : all)
    BOOST_TEST((traces.contains(name) && traces.at(name) == trace), name << " of " << out);
  for (const auto& [name, trace] : traces) BOOST_TEST(all.contains(name), name << " in " << out);
}

/// Checks for exactly one line on stderr, which contains `part`, nothing on stdout, and a failure status.
inline void check_refused(const std::string& arguments, const std::string& part) {
  const Outcome outcome = run(arguments);
  BOOST_TEST_CONTEXT(arguments << ": " << outcome.err) {
    BOOST_TEST(outcome.status == 1);
    BOOST_TEST(outcome.out.empty());
    BOOST_TEST(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
    BOOST_TEST(outcome.err.find("distill: ") == 0U);
    BOOST_TEST(contains(outcome.err, part));
  }
}

}  // namespace retort::tests
