#include "retort/framework/train/json_lines.hpp"

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <limits>

#include "framework/io/files.hpp"
#include "retort/framework/base/error.hpp"
#include "tests_support.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

BOOST_AUTO_TEST_SUITE(json_lines)

BOOST_AUTO_TEST_CASE(one_object_per_line) {
  const TemporaryFolder folder;
  const std::string path = folder / "log.jsonl";
  JsonLines log(path);
  log.write({{"event", "step"}, {"step", 3}, {"loss", 0.1}, {"best", true}, {"seed", std::uint64_t{7}}});
  log.write({{"loss", std::numeric_limits<double>::infinity()}, {"quote", "a\"b\n"}, {"half", 0.5F}});
  log.write({});
  const std::string expected =
      "{\"event\":\"step\",\"step\":3,\"loss\":0.1,\"best\":true,\"seed\":7}\n"
      "{\"loss\":null,\"quote\":\"a\\\"b\\n\",\"half\":0.5}\n{}\n";
  BOOST_TEST(read_file(path) == expected);
  BOOST_TEST(log.flush() == static_cast<std::int64_t>(expected.size()));
}

BOOST_AUTO_TEST_CASE(a_resumed_run_cuts_the_log_back) {
  const TemporaryFolder folder;
  const std::string path = folder / "log.jsonl";
  std::int64_t at_checkpoint = 0;
  {
    JsonLines log(path);
    log.write({{"step", 1}});
    at_checkpoint = log.flush();
    log.write({{"step", 2}});
  }
  {
    JsonLines log(path, at_checkpoint);
    log.write({{"step", 2}});
  }
  BOOST_TEST(read_file(path) == "{\"step\":1}\n{\"step\":2}\n");
  BOOST_TEST(
      contains(thrown_text<IoError>([&] { JsonLines(path, 1000); }), "restore it, or start the run again"));
  BOOST_TEST(read_file(path) == "{\"step\":1}\n{\"step\":2}\n");
  const JsonLines fresh(path);
  BOOST_TEST(read_file(path).empty());
}

BOOST_AUTO_TEST_CASE(what_is_not_a_file_is_refused) {
  const TemporaryFolder folder;
  BOOST_CHECK_THROW(JsonLines(folder / "no/such/folder.jsonl"), IoError);
  BOOST_CHECK_THROW(JsonLines("/dev/null"), IoError);
  BOOST_CHECK_THROW(JsonLines(folder.path()), IoError);
}

BOOST_AUTO_TEST_CASE(a_log_that_cannot_be_resumed_is_not_created) {
  const TemporaryFolder folder;
  for (const std::int64_t size : {10, -1}) BOOST_CHECK_THROW(JsonLines(folder / "log.jsonl", size), IoError);
  BOOST_TEST(!std::filesystem::exists(folder / "log.jsonl"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
