#include "distill/run/statistics.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>

namespace {

using distill::compare;
using distill::Paired;
using distill::student_t;
using distill::summarise;

BOOST_AUTO_TEST_SUITE(example_distill_statistics)

BOOST_AUTO_TEST_CASE(mean_and_sample_deviation) {
  const auto summary = summarise({1, 2, 3, 4});
  BOOST_TEST(summary.mean == 2.5);
  BOOST_TEST(summary.std == std::sqrt(5.0 / 3), boost::test_tools::tolerance(1e-14));
}

BOOST_AUTO_TEST_CASE(one_value_does_not_deviate) {
  const auto summary = summarise({0.8});
  BOOST_TEST(summary.mean == 0.8);
  BOOST_TEST(summary.std == 0.0);
}

// Two-sided 95 % points as any table of Student's distribution prints them.
BOOST_AUTO_TEST_CASE(quantiles_are_those_of_the_tables) {
  const auto last_digit = boost::test_tools::tolerance(1e-6);
  BOOST_TEST(student_t(1, 0.95) == 12.70620, last_digit);
  BOOST_TEST(student_t(2, 0.95) == 4.302653, last_digit);
  BOOST_TEST(student_t(3, 0.95) == 3.182446, last_digit);
  BOOST_TEST(student_t(4, 0.95) == 2.776445, last_digit);
  BOOST_TEST(student_t(9, 0.95) == 2.262157, last_digit);
  BOOST_TEST(student_t(30, 0.95) == 2.042272, last_digit);
  BOOST_TEST(student_t(9999, 0.95) == 1.960201, last_digit);
  BOOST_TEST(student_t(5, 0.99) == 4.032143, last_digit);
}

BOOST_AUTO_TEST_CASE(pairs_are_compared_by_their_differences) {
  // Differences 1, 0, 2, 1: mean 1, deviation sqrt(2/3), half the
  // interval 3.182446 · sqrt(2/3) / 2.
  const Paired paired = compare({1, 2, 3, 4}, {2, 2, 5, 5}, true);
  BOOST_TEST(paired.mean == 1.0);
  BOOST_REQUIRE(paired.interval.has_value());
  BOOST_TEST(paired.interval->low == 1 - 1.299228, boost::test_tools::tolerance(1e-5));
  BOOST_TEST(paired.interval->high == 1 + 1.299228, boost::test_tools::tolerance(1e-5));
  BOOST_TEST(paired.wins == 3U);  // a tie does not count
}

BOOST_AUTO_TEST_CASE(smaller_can_be_better) {
  BOOST_TEST(compare({1, 2, 3, 4}, {2, 2, 5, 5}, false).wins == 0U);
  BOOST_TEST(compare({2, 2, 5, 5}, {1, 2, 3, 4}, false).wins == 3U);
}

BOOST_AUTO_TEST_CASE(one_pair_has_no_interval) {
  const Paired paired = compare({0.5}, {0.75}, true);
  BOOST_TEST(paired.mean == 0.25);
  BOOST_TEST(!paired.interval.has_value());
  BOOST_TEST(paired.wins == 1U);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
