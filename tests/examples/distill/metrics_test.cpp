#include "distill/metrics.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdint>
#include <retort/retort.hpp>
#include <vector>

namespace {

using distill::measure;
using distill::Metrics;

/// Predictions for two classes by the probability of class 0.
Metrics measured(const std::vector<double>& first, const std::vector<std::int64_t>& labels,
                 std::int64_t bins) {
  std::vector<double> logits;
  for (const double p : first) {
    logits.push_back(std::log(p));
    logits.push_back(std::log(1 - p));
  }
  return measure(retort::tensor(logits, {static_cast<std::int64_t>(first.size()), 2}), retort::tensor(labels),
                 bins);
}

BOOST_AUTO_TEST_SUITE(example_distill_metrics, *boost::unit_test::tolerance(1e-12))

BOOST_AUTO_TEST_CASE(each_prediction_in_a_bin_of_its_own) {
  const Metrics metrics = measured({0.9, 0.85, 0.62, 0.3}, {0, 1, 0, 1}, 15);
  BOOST_TEST(metrics.accuracy == 0.75);
  BOOST_TEST(metrics.nll == -(std::log(0.9) + std::log(0.15) + std::log(0.62) + std::log(0.7)) / 4);
  BOOST_TEST(metrics.ece == (0.1 + 0.85 + 0.38 + 0.3) / 4);
}

BOOST_AUTO_TEST_CASE(predictions_of_one_bin_make_up_for_each_other) {
  // 0.90 (right) and 0.88 (wrong) both lie in (13/15, 14/15]: |1 - 1.78| / 3.
  // 0.75 (right) lies apart.
  BOOST_TEST(measured({0.9, 0.88, 0.75}, {0, 1, 0}, 15).ece == (0.78 + 0.25) / 3);
  // With a single bin it is the difference of accuracy and mean confidence.
  BOOST_TEST(measured({0.9, 0.88, 0.75}, {0, 1, 0}, 1).ece == (2.53 - 2) / 3);
}

BOOST_AUTO_TEST_CASE(certainty_is_in_the_last_bin) {
  const retort::Tensor logits = retort::tensor({0.F, -1000.F, -1000.F, 0.F}, {2, 2});
  const Metrics metrics = measure(logits, retort::tensor({0, 0}));
  BOOST_TEST(metrics.accuracy == 0.5);
  BOOST_TEST(metrics.nll == 500.0);
  BOOST_TEST(metrics.ece == 0.5);
}

BOOST_AUTO_TEST_CASE(calibrated_predictions_have_no_error) {
  // Four predictions at 0.75, three of them right.
  BOOST_TEST(measured({0.75, 0.75, 0.75, 0.75}, {0, 0, 1, 0}, 15).ece < 1e-12);
}

BOOST_AUTO_TEST_CASE(reliability_counts_each_bin) {
  const retort::Tensor logits = retort::tensor(
      {std::log(0.9), std::log(0.1), std::log(0.2), std::log(0.8), std::log(0.75), std::log(0.25)}, {3, 2});
  const auto bins = distill::reliability(logits, retort::tensor({0, 0, 0}), 4);
  BOOST_TEST(bins.size() == 4U);
  BOOST_TEST(bins[2].count == 1);  // 0.75 belongs to (0.5, 0.75]
  BOOST_TEST(bins[2].right == 1.0);
  BOOST_TEST(bins[3].count == 2);
  BOOST_TEST(bins[3].right == 1.0);
  BOOST_TEST(bins[3].confidence == 1.7);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
