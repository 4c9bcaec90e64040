// A run folder recorded by an earlier build, and the flags of that build: files, keys and flags keep their
// names.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "program.hpp"
#include "retort/framework/io/safetensors.hpp"

namespace {

using namespace retort::tests;
using nlohmann::ordered_json;

const std::string recorded = RETORT_GOLDEN_DIR "/../examples/distill/recorded/";
/// The flags with which the folder was recorded.
const std::string flags =
    "--epochs 2 --teacher-width 16 --batch-size 32 --student-width 8 --student-epochs 3 --student-images 60 "
    "--seeds 2 --seed 3 --alpha 0.5 --log-steps 2 --quiet ";

/// The names of all values below a JSON value, `teacher.lr`, and their types.
void describe(const ordered_json& value, const std::string& path, std::ostream& names) {
  if (value.is_structured()) {
    for (const auto& [key, below] : value.items()) describe(below, path + '.' + key, names);
  } else {
    names << path << ' ' << (value.is_number() ? "number" : value.type_name()) << '\n';
  }
}

/// The names in a file of JSON, or of a JSON object per line.
std::string names_in(const std::string& path) {
  std::istringstream text(read_file(path));
  std::ostringstream names;
  for (ordered_json json; text >> std::ws && !text.eof();) {
    text >> json;
    describe(json, "", names);
  }
  return names.str();
}

std::string entries_of(const std::string& path) {
  std::ostringstream entries;
  for (const retort::SafetensorsEntry& entry : retort::safetensors_entries(path))
    entries << entry.name << ' ' << entry.dtype << ' ' << entry.shape << '\n';
  return entries.str();
}

/// Rounds all fractions, whose last digits depend on the compiler.
void round_numbers(ordered_json& value) {
  if (value.is_structured())
    for (auto& below : value) round_numbers(below);
  else if (value.is_number_float())
    value = std::round(1e9 * value.get<double>());
}

struct Images : TemporaryFolder {
  Images() { write_image_set(path()); }
};

BOOST_AUTO_TEST_SUITE(example_distill_recorded)

BOOST_AUTO_TEST_CASE(a_run_of_today_has_the_recorded_names) {
  const Images folder;
  const Outcome outcome = run(places(folder, "out") + flags);
  BOOST_REQUIRE_MESSAGE(outcome.status == 0, outcome.err);
  for (const char* file : {"config.json", "environment.json", "metrics.jsonl", "timing.jsonl", "result.json"})
    BOOST_TEST(names_in(folder / (std::string("out/") + file)) == names_in(recorded + file), file);
  for (const char* file : {"teacher", "alone", "distilled", "predictions", "teacher_logits"}) {
    const std::string name = std::string(file) + ".safetensors";
    BOOST_TEST(entries_of(folder / ("out/" + name)) == entries_of(recorded + name), file);
  }
  std::set<std::string> files, expected = {"report.html"};
  for (const auto& entry : std::filesystem::directory_iterator(folder / "out"))
    files.insert(entry.path().filename().string());
  for (const auto& entry : std::filesystem::directory_iterator(recorded))
    if (entry.path().extension() != ".txt") expected.insert(entry.path().filename().string());
  BOOST_TEST(files == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(the_recorded_run_can_be_resumed_and_reported) {
  const Images folder;
  std::filesystem::copy(
      recorded, folder / "out",
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
  const Outcome outcome = run(places(folder, "out") + flags + "--resume");
  BOOST_REQUIRE_MESSAGE(outcome.status == 0, outcome.err);
  ordered_json before = ordered_json::parse(read_file(recorded + "result.json"));
  ordered_json after = ordered_json::parse(read_file(folder / "out/result.json"));
  for (ordered_json* result : {&before, &after}) {
    result->erase("seconds");
    round_numbers(*result);
  }
  BOOST_TEST(before == after);
  BOOST_TEST(read_file(folder / "out/metrics.jsonl") == read_file(recorded + "metrics.jsonl"));
  std::filesystem::remove(folder / "out/report.html");
  BOOST_TEST(run("report --data '" + folder.path() + "' --out '" + (folder / "out") + "'").status == 0);
  const std::string page = read_file(folder / "out/report.html");
  for (const char* part : {"Result", "Learning", "seed by seed", "confusion-teacher", "confusion-distilled"})
    BOOST_TEST(contains(page, part), part);
}

BOOST_AUTO_TEST_CASE(all_commands_have_the_recorded_flags) {
  std::ostringstream listed;
  for (const std::string command : {"", "train-teacher", "teach", "evaluate", "report"}) {
    listed << "distill " << command << ":\n";
    std::istringstream help(run(command + " --help").out);
    for (std::string line; std::getline(help, line);) {
      const std::size_t begin = line.find_first_not_of(' ');
      if (begin == std::string::npos || line[begin] != '-') continue;
      listed << line.substr(0, line.find_first_not_of("-abcdefghijklmnopqrstuvwxyz,", begin)) << '\n';
    }
  }
  BOOST_TEST(listed.str() == read_file(recorded + "flags.txt"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
