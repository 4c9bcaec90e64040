// The program as a user runs it, on a small set of images.
#pragma once

#include <sys/wait.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "image_set.hpp"
#include "tests_support.hpp"

namespace retort::tests {

struct Outcome {
  int status = -1;
  std::string out = {};
  std::string err = {};
};

/// Runs a command of the shell.
inline Outcome run_command(const std::string& words) {
  const TemporaryFolder folder;
  const std::string command = words + " >'" + (folder / "out") + "' 2>'" + (folder / "err") + "'";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(folder / "out"), read_file(folder / "err")};
}

inline Outcome run(const std::string& arguments) { return run_command("'" RETORT_DISTILL "' " + arguments); }

/// Flags of the images in `folder` and a run folder below it.
inline std::string places(const TemporaryFolder& folder, const std::string& out) {
  return "--data '" + folder.path() + "' --out '" + (folder / out) + "' ";
}

constexpr const char* quick_teacher = "--epochs 2 --teacher-width 16 --batch-size 32 ";
constexpr const char* quick_students =
    "--student-width 8 --student-epochs 3 --student-images 60 --batch-size 32 ";

/// Flags of a run that takes no time, on the images in `folder`.
inline std::string quick(const TemporaryFolder& folder, const std::string& out) {
  return places(folder, out) + quick_teacher + quick_students;
}

inline nlohmann::json result_in(const TemporaryFolder& folder, const std::string& out) {
  return nlohmann::json::parse(read_file(folder / (out + "/result.json")));
}

/// Exactly one line on stderr, which names `part`; nothing on stdout; and a status of failure.
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
