// The result as a table and as JSON.
#include "distill/report/table.hpp"

#include <boost/test/unit_test.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests_support.hpp"

namespace {

using retort::tests::contains;

/// A result of students with these accuracies, alone and distilled, and with the same values as nll.
distill::Result result_of(const std::vector<std::pair<double, double>>& pairs) {
  distill::Result result;
  for (const auto& [alone, distilled] : pairs)
    result.seeds.push_back({std::ssize(result.seeds), {alone, alone, 0}, {distilled, distilled, 0}});
  return result;
}

BOOST_AUTO_TEST_SUITE(example_distill_table)

BOOST_AUTO_TEST_CASE(seeds_are_compared_by_their_differences) {
  // Differences 1, 0, 2, 1: mean 1, deviation sqrt(2/3), half the interval 3.182446 · sqrt(2/3) / 2.
  const distill::Result result = result_of({{1, 2}, {2, 2}, {3, 5}, {4, 5}});
  const auto paired = nlohmann::json::parse(distill::json_of(result))["paired"];
  BOOST_TEST(paired["accuracy"]["mean"] == 1.0);
  const auto close = boost::test_tools::tolerance(1e-5);
  BOOST_TEST(paired["accuracy"]["low"].get<double>() == 1 - 1.299228, close);
  BOOST_TEST(paired["accuracy"]["high"].get<double>() == 1 + 1.299228, close);
  BOOST_TEST(paired["accuracy"]["wins"] == 3);  // a tie does not count
  BOOST_TEST(paired["nll"]["wins"] == 0);       // smaller is better
  const std::string table = distill::table_of(result);
  for (const char* cell : {"250.00 ± 129.10", "+100.00 [-29.92, +229.92]", "in 3 of 4 seeds"})
    BOOST_TEST(contains(table, cell), table);
}

BOOST_AUTO_TEST_CASE(one_seed_has_neither_deviation_nor_interval) {
  const distill::Result result = result_of({{0.5, 0.75}});
  const auto json = nlohmann::ordered_json::parse(distill::json_of(result));
  BOOST_TEST(json["alone"]["accuracy"]["std"] == 0.0);
  BOOST_TEST(json["paired"]["accuracy"]["mean"] == 0.25);
  BOOST_TEST(json["paired"]["accuracy"]["low"].is_null());
  BOOST_TEST(json["paired"]["accuracy"]["high"].is_null());
  BOOST_TEST(json["paired"]["accuracy"]["wins"] == 1);
  const std::string table = distill::table_of(result);
  BOOST_TEST(contains(table, "On the test set: 1 seed\n"), table);
  for (const char* part : {"±", "[", "interval"}) BOOST_TEST(!contains(table, part), table);
  BOOST_TEST(distill::table_of(distill::result_of(json)) == table);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
