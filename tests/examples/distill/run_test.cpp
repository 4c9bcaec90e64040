// The program: the files it writes and the input it refuses.
#include <sys/stat.h>
#include <algorithm>

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "program.hpp"

namespace {

using namespace retort::tests;
using nlohmann::json;

BOOST_AUTO_TEST_SUITE(example_distill_run)

BOOST_AUTO_TEST_CASE(a_run_writes_what_it_prints) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  const Outcome outcome = run(quick(folder, "deep/down") + "--seeds 3");
  BOOST_TEST(outcome.status == 0, outcome.err);
  // A line per epoch: the teacher's, and those of three students, each trained in two
  // ways.
  std::size_t epochs = 0;
  for (std::size_t at = 0; (at = outcome.err.find("  epoch ", at)) != std::string::npos; ++at) ++epochs;
  BOOST_TEST(epochs == 2U + 3 * 2 * 3);

  const json result = result_in(folder, "deep/down");
  BOOST_TEST(result["seeds"] == 3);
  BOOST_TEST(result["seconds"].get<double>() > 0);
  for (const char* who : {"teacher", "alone", "distilled"}) {
    for (const char* what : {"accuracy", "nll", "ece"}) {
      const json& summary = result[who][what];
      BOOST_TEST(summary["mean"].get<double>() >= 0, who << ' ' << what);
      BOOST_TEST(summary["std"].get<double>() >= 0, who << ' ' << what);
    }
    BOOST_TEST(result[who]["accuracy"]["mean"].get<double>() <= 1);
  }
  const json& paired = result["paired"]["accuracy"];
  BOOST_TEST(paired["low"].get<double>() <= paired["mean"].get<double>());
  BOOST_TEST(paired["mean"].get<double>() <= paired["high"].get<double>());
  BOOST_TEST(std::abs(paired["mean"].get<double>() - result["distilled"]["accuracy"]["mean"].get<double>() +
                      result["alone"]["accuracy"]["mean"].get<double>()) < 1e-12);
  BOOST_TEST(contains(outcome.out, "in " + paired["wins"].dump() + " of 3 seeds"));
  for (const char* word : {"teacher", "student alone", "student distilled", "±"})
    BOOST_TEST(contains(outcome.out, word), word);
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "deep/down"))
    files.insert(entry.path().filename().string());
  const std::set<std::string> expected = {"alone.safetensors",
                                          "checkpoints",
                                          "config.json",
                                          "distilled.safetensors",
                                          "environment.json",
                                          "metrics.jsonl",
                                          "predictions.safetensors",
                                          "report.html",
                                          "result.json",
                                          "teacher.safetensors",
                                          "teacher_logits.safetensors",
                                          "timing.jsonl"};
  BOOST_TEST(files == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_seed_gives_one_result_for_any_number_of_threads) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  std::vector<json> results;
  for (const char* arguments : {"--seed 4 --threads 1", "--seed 4 --threads 2", "--seed 4", "--seed 5"}) {
    BOOST_TEST(run(quick(folder, "out") + "--seeds 2 --quiet " + arguments).status == 0);
    results.push_back(result_in(folder, "out"));
    results.back().erase("seconds");
  }
  BOOST_TEST(results[0] == results[1]);
  BOOST_TEST(results[0] == results[2]);
  BOOST_TEST(results[0] != results[3]);
}

BOOST_AUTO_TEST_CASE(fused_gives_the_same_figures) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  BOOST_TEST(run(quick(folder, "composed") + "--seeds 2 --quiet --alpha 0.5").status == 0);
  BOOST_TEST(run(quick(folder, "fused") + "--seeds 2 --quiet --alpha 0.5 --fused").status == 0);
  const json composed = result_in(folder, "composed"), fused = result_in(folder, "fused");
  BOOST_TEST(std::abs(composed["distilled"]["nll"]["mean"].get<double>() -
                      fused["distilled"]["nll"]["mean"].get<double>()) < 1e-4);
}

BOOST_AUTO_TEST_CASE(one_seed_has_no_interval) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  const Outcome outcome = run(quick(folder, "out") + "--seeds 1 --quiet");
  BOOST_TEST(outcome.status == 0);
  BOOST_TEST(outcome.err.empty(), outcome.err);
  BOOST_TEST(contains(outcome.out, "student distilled"));
  const json result = result_in(folder, "out");
  BOOST_TEST(result["alone"]["accuracy"]["std"] == 0.0);
  BOOST_TEST(result["paired"]["accuracy"]["low"].is_null());
  BOOST_TEST(result["paired"]["accuracy"]["high"].is_null());
}

BOOST_AUTO_TEST_CASE(flags_that_make_no_sense_are_refused) {
  check_refused("--no-such-flag", "--no-such-flag");
  check_refused("--epochs 0", "--epochs must be between");
  check_refused("--alpha 2", "--alpha must be between 0 and 1");
  check_refused("--epochs", "--epochs");
  check_refused("--config /no/such/file.json", "/no/such/file.json");
}

BOOST_AUTO_TEST_CASE(data_that_cannot_be_used_is_refused_and_nothing_written) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& part) { check_refused(quick(folder, "out"), part); };
  refused("there is no train-images");
  write_image_set(folder.path());
  check_refused(quick(folder, "out") + "--student-images 301", "the training set has 300 images");
  check_refused(quick(folder, "out") + "--select", "5000 are held out");

  const std::string images = folder / "train-images-idx3-ubyte", labels = folder / "train-labels-idx1-ubyte";
  const std::string whole = read_file(images), whole_labels = read_file(labels);
  write_file(images, whole.substr(0, 5000));
  refused("truncated");
  write_file(images, "no images");
  refused(images);
  retort::tests::write_idx(images, {0, 6, 6}, "");
  retort::tests::write_idx(labels, {0}, "");
  refused("holds 0 training");
  write_file(images, whole);
  write_file(labels, whole_labels);
  retort::tests::write_idx(folder / "t10k-images-idx3-ubyte", {150, 2, 3}, std::string(900, 'x'));
  refused("must be equal");
  write_image_set(folder.path());
  retort::tests::write_idx(folder / "t10k-labels-idx1-ubyte", {150}, std::string(150, '\7'));
  refused("the test labels go from 7 to 7");
  BOOST_TEST(!std::filesystem::exists(folder / "out"));
}

BOOST_AUTO_TEST_CASE(a_folder_that_cannot_be_written_is_refused_before_the_training) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  write_file(folder / "file", "kept");
  check_refused(quick(folder, "file"), folder / "file");
  check_refused(quick(folder, "file/below"), folder / "file/below");
  check_refused("--out /proc/retort", "/proc/retort");
  BOOST_TEST(read_file(folder / "file") == "kept");
  std::filesystem::create_directories(folder / "out/result.json");
  check_refused(quick(folder, "out"), "result.json");
}

BOOST_AUTO_TEST_CASE(a_result_that_nobody_gets_to_see_is_told) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  for (const std::string& arguments :
       {std::string("--help"), quick(folder, "out") + "--seeds 1 --quiet",
        "evaluate --data '" + folder.path() + "' '" + (folder / "out/teacher.safetensors") + "'"}) {
    const Outcome outcome = run_command("{ '" RETORT_DISTILL "' " + arguments + " >/dev/full; }");
    BOOST_TEST(outcome.status == 1, arguments);
    BOOST_TEST(outcome.err == "distill: standard output cannot be written\n", outcome.err);
  }
  BOOST_TEST(result_in(folder, "out")["seeds"] == 1);
}

BOOST_AUTO_TEST_CASE(closed_streams_do_not_change_what_is_written) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  BOOST_TEST(run(quick(folder, "expected") + "--seeds 1").status == 0);
  int number = 0;
  for (const std::string closed : {">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&-", "<&- 2>&-", "<&- >&- 2>&-"}) {
    const std::string out = "out" + std::to_string(number++);
    const Outcome outcome =
        run_command("{ '" RETORT_DISTILL "' " + quick(folder, out) + "--seeds 1 " + closed + "; }");
    BOOST_TEST(outcome.status == 0, closed << ": " << outcome.err);
    check_same_run(folder / out, folder / "expected");
  }
}

BOOST_AUTO_TEST_CASE(a_reader_that_goes_does_not_end_the_run) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  BOOST_TEST(run(quick(folder, "expected") + "--seeds 2").status == 0);
  int number = 0;
  for (const std::string reader : {"| head -n 1", "2>&1 | head -n 2", "| true", "2>&1 | true"}) {
    const std::string out = "out" + std::to_string(number++);
    const Outcome outcome =
        run_command("{ { '" RETORT_DISTILL "' " + quick(folder, out) + "--seeds 2; echo $? >'" +
                    (folder / "status") + "'; } " + reader + "; }");
    BOOST_TEST(read_file(folder / "status") == "0\n", reader << ": " << outcome.err);
    check_same_run(folder / out, folder / "expected");
  }
}

BOOST_AUTO_TEST_CASE(devices_and_pipes_are_refused_and_stay) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  for (const char* name : {"result.json", "metrics.jsonl", "timing.jsonl", "config.json"}) {
    std::filesystem::create_directories(folder / "out");
    std::filesystem::create_symlink("/dev/null", folder / (std::string("out/") + name));
    check_refused(quick(folder, "out") + "--quiet", name);
    std::filesystem::remove(folder / (std::string("out/") + name));
    BOOST_REQUIRE(::mkfifo((folder / (std::string("out/") + name)).c_str(), 0600) == 0);
    check_refused(quick(folder, "out") + "--quiet", name);
    BOOST_TEST(std::filesystem::is_fifo(folder / (std::string("out/") + name)));
    std::filesystem::remove_all(folder / "out");
  }
  check_refused("train-teacher " + places(folder, "out") + quick_teacher + "--quiet --save-logits /dev/null",
                "/dev/null");
  BOOST_TEST(std::filesystem::is_character_file("/dev/null"));
}

BOOST_AUTO_TEST_CASE(a_training_that_fails_leaves_an_earlier_result_alone) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  std::filesystem::create_directories(folder / "out");
  write_file(folder / "out/result.json", "before");
  check_refused(quick(folder, "out") + "--quiet --lr 100 --weight-decay 100",
                "training of the teacher diverged");
  BOOST_TEST(read_file(folder / "out/result.json") == "before");
}

BOOST_AUTO_TEST_CASE(a_folder_belongs_to_one_run_at_a_time) {
  const TemporaryFolder folder;
  write_image_set(folder.path());
  const Process first(quick(folder, "out") + "--epochs 100000 --quiet", folder / "said");
  for (int i = 0; i < 3000 && !std::filesystem::exists(folder / "out/metrics.jsonl"); ++i) ::usleep(10000);
  check_refused(quick(folder, "out") + "--quiet", "another run is writing to");
  check_refused(quick(folder, "out") + "--quiet --resume", "another run is writing to");
  BOOST_TEST(WIFSIGNALED(first.end_with(SIGKILL)));  // the system releases the lock
  BOOST_TEST(run(quick(folder, "out") + "--seeds 1 --quiet").status == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
