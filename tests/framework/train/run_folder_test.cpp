// The folder of a run and its settings.
#include <boost/test/unit_test.hpp>
#include <filesystem>

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

BOOST_AUTO_TEST_SUITE(run_folder)

BOOST_AUTO_TEST_CASE(a_folder_belongs_to_one_run) {
  const TemporaryFolder folder;
  const std::string path = folder / "run";
  { const RunFolder run(path, {{"lr", 0.1}, {"data", "a"}}); }
  const std::string text = thrown_text<ValueError>([&] {
    const RunFolder run(path, {{"lr", 0.2}, {"data", "a"}});
  });
  BOOST_TEST(contains(text, "\"lr\" is 0.1 there, 0.2 now"), text);
  const auto refused = [&](const JsonFields& settings) {
    return thrown_text<ValueError>([&] { const RunFolder run(path, settings); });
  };
  BOOST_TEST(contains(refused({{"lr", 0.1}}), "\"data\" is \"a\" there, missing now"));
  BOOST_TEST(
      contains(refused({{"lr", 0.1}, {"data", "a"}, {"seed", 1}}), "\"seed\" is missing there, 1 now"));
  BOOST_TEST(contains(refused({{"data", "a"}, {"lr", 0.1}}), "their order"));
  BOOST_TEST(contains(refused({{"lr", 0.1}, {"lr", 0.1}}), "given twice"));
  write_file(path + "/settings.json", "{broken");
  BOOST_TEST(contains(refused({{"lr", 0.1}}), "not a JSON object"));
  BOOST_TEST(contains(thrown_text<ValueError>([&] { const RunFolder run("", {}); }), "empty"));
  write_file(folder / "file", "");
  BOOST_TEST(contains(thrown_text<IoError>([&] { const RunFolder run(folder / "file", {}); }), "file"));
}

BOOST_AUTO_TEST_CASE(a_folder_with_trainings_has_its_settings) {
  const TemporaryFolder folder;
  const std::string path = folder / "run";
  const auto open = [&] { const RunFolder run(path, {{"lr", 0.1}}); };
  open();
  write_file(path + "/log.jsonl", "");  // files of the program
  write_file(path + "/other.json", "{}");
  fs::remove(path + "/settings.json");
  open();
  BOOST_TEST(fs::exists(path + "/settings.json"));
  {
    const RunFolder run(path, {{"lr", 0.1}});
    Linear model(1, 1);
    DataLoader loader(Dataset(ones({4, 1}), ones({4, 1})), {.batch_size = 2});
    const Training training(run, "one", {.module = &model, .loader = &loader}, {.quiet = true});
  }
  open();
  fs::remove(path + "/settings.json");
  const std::string text = thrown_text<IoError>(open);
  BOOST_TEST(contains(text, "RunFolder: " + path + ": holds the training 'one', but no settings.json"), text);
  BOOST_TEST(!fs::exists(path + "/settings.json"));
  { const RunFolder run = RunFolder::without_settings(path); }
}

BOOST_AUTO_TEST_CASE(a_second_folder_is_refused_in_one_sentence) {
  const TemporaryFolder folder;
  const RunFolder run(folder / "a", {});
  const std::string text =
      ": only one RunFolder or InterruptGuard can exist in a process at a time; destroy the other one first";
  BOOST_TEST(thrown_text<Error>([&] { const RunFolder second(folder / "b", {}); }) == "RunFolder" + text);
  BOOST_TEST(thrown_text<Error>([] { const InterruptGuard guard; }) == "InterruptGuard" + text);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
