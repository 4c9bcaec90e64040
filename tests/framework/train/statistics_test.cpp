// Summaries of several seeds, and tables that compare them.
#include "retort/framework/train/statistics.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "retort/retort.hpp"
#include "tests_support.hpp"

namespace {

using namespace retort;
using retort::tests::contains;
using retort::tests::thrown_text;

BOOST_AUTO_TEST_SUITE(statistics)

BOOST_AUTO_TEST_CASE(summaries) {
  const std::vector<double> two = {1, 3}, many(12, 5.0), ten = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const SampleSummary summary = summarise(two);
  BOOST_TEST(summary.mean == 2);
  BOOST_TEST(summary.std == std::sqrt(2.0));
  BOOST_TEST(summary.half_width == 12.7062047362, boost::test_tools::tolerance(1e-10));
  BOOST_TEST(summarise(many).half_width == 0);
  BOOST_TEST(summarise(ten).half_width == 2.2621571628 * summarise(ten).std / std::sqrt(10.0),
             boost::test_tools::tolerance(1e-10));
  BOOST_TEST(std::isnan(summarise(std::span(two).first(1)).half_width));
  BOOST_TEST(std::isnan(summarise({}).mean));
  BOOST_TEST(mean_text(two, 1) == "2.0 ± 12.7");
  BOOST_TEST(mean_text(std::span(two).first(1), 0) == "1");
  const std::vector<double> better = {2, 7};
  BOOST_TEST(gain_text(two, better, 1) == "+2.5 [-16.6, +21.6]");
  BOOST_TEST(gain_text(better, two, 1) == "-2.5 [-21.6, +16.6]");
  BOOST_TEST(gain_text(std::span(two).first(1), std::span(better).first(1), 1) == "+1.0");
  BOOST_TEST(fixed(-0.126, 2) == "-0.13");
  for (const double zero : {0.0, -0.0, -0.001}) BOOST_TEST(fixed(zero, 2) == "0.00");
  BOOST_TEST(fixed(-0.4, 0) == "0");
  const std::vector<double> missing = {1, std::nan("")}, little_less = {0.999, 2.999}, none;
  BOOST_TEST(mean_text(missing, 1) == "not known");
  BOOST_TEST(mean_text(none, 1) == "not known");
  BOOST_TEST(gain_text(two, missing, 1) == "not known");
  BOOST_TEST(gain_text(two, little_less, 1) == "0.0 [0.0, 0.0]");
  BOOST_TEST(gain_text(std::span(two).first(1), std::span(little_less).first(1), 1) == "0.0");
  const std::vector<double> infinite = {1, HUGE_VAL};
  BOOST_TEST(gain_text(two, infinite, 1) == "+inf");
  BOOST_TEST(paired_differences(two, std::vector<double>{2, 7}) == (std::vector<double>{1, 4}),
             boost::test_tools::per_element());
  BOOST_TEST(contains(thrown_text<ValueError>([&] { static_cast<void>(paired_differences(two, ten)); }),
                      "2 and 10"));
}

BOOST_AUTO_TEST_CASE(ways_are_compared_seed_by_seed) {
  Comparison results({"accuracy", "nll"});
  results.add("teacher", {95, 0.2});
  for (const double seed : {1.0, 4.0}) {
    results.add("alone", {seed, 1});
    results.add("distilled", {2 * seed, 1});
  }
  BOOST_TEST(results.ways() == (std::vector<std::string>{"teacher", "alone", "distilled"}),
             boost::test_tools::per_element());
  BOOST_TEST(results.values("distilled") == (std::vector<double>{2, 8}), boost::test_tools::per_element());
  const std::vector<std::vector<std::string>> expected = {
      {"mean ±std; gain [95 %]", "accuracy", "nll"},
      {"teacher", "95.0", "0.2"},
      {"alone", "2.5 ±2.1", "1.0 ±0.0"},
      {"distilled", "5.0 ±4.2; +2.5 [-16.6, +21.6]", "1.0 ±0.0; 0.0 [0.0, 0.0]"}};
  BOOST_TEST((results.table("alone", 1) == expected), text_table(results.table("alone", 1)));
  BOOST_TEST(contains(thrown_text<ValueError>([&] { results.add("alone", {1}); }), "1 value for 2 metrics"));
  BOOST_TEST(contains(thrown_text<IndexError>([&] { static_cast<void>(results.table("none")); }), "'none'"));
  Comparison one({"nll"});
  BOOST_TEST(contains(thrown_text<IndexError>([&] { static_cast<void>(one.table("none")); }), "'none'"));
  one.add("alone", {1});
  BOOST_TEST(one.table("alone")[0][0].empty());
  one.add("alone", {2});
  BOOST_TEST(one.table("alone")[0][0] == "mean ±std");
  one.add("missing", {std::nan("")});
  one.add("missing", {1});
  BOOST_TEST(one.table("alone")[2][1] == "not known; not known");
  BOOST_TEST(
      contains(thrown_text<IndexError>([&] { static_cast<void>(results.values("alone", 2)); }), "metric 2"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
