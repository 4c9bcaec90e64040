#include "retort/framework/train/metrics.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdint>
#include <retort/retort.hpp>
#include <vector>

#include "tests_support.hpp"

using namespace retort;
using metrics::accuracy;
using metrics::confusion_matrix;
using metrics::ece;
using metrics::nll;
using metrics::reliability;
using metrics::top_k_accuracy;

namespace {

/// Logits of two classes by the probability of class 0.
Tensor two_classes(const std::vector<double>& first) {
  std::vector<double> logits;
  for (const double p : first) {
    logits.push_back(std::log(p));
    logits.push_back(std::log(1 - p));
  }
  return tensor(logits, {static_cast<std::int64_t>(first.size()), 2});
}

BOOST_AUTO_TEST_SUITE(metrics_of_classifiers, *boost::unit_test::tolerance(1e-12))

BOOST_AUTO_TEST_CASE(each_prediction_in_a_bin_of_its_own) {
  const Tensor logits = two_classes({0.9, 0.85, 0.62, 0.3}), labels = tensor({0, 1, 0, 1});
  BOOST_TEST(accuracy(logits, labels) == 0.75);
  BOOST_TEST(nll(logits, labels) == -(std::log(0.9) + std::log(0.15) + std::log(0.62) + std::log(0.7)) / 4);
  BOOST_TEST(ece(logits, labels) == (0.1 + 0.85 + 0.38 + 0.3) / 4);
}

BOOST_AUTO_TEST_CASE(predictions_of_one_bin_compensate_each_other) {
  // 0.90 (right) and 0.88 (wrong) are both in (13/15, 14/15]: |1 - 1.78| / 3. 0.75 (right) is in another bin.
  const Tensor logits = two_classes({0.9, 0.88, 0.75}), labels = tensor({0, 1, 0});
  BOOST_TEST(ece(logits, labels) == (0.78 + 0.25) / 3);
  // With a single bin it is the difference of accuracy and mean confidence.
  BOOST_TEST(ece(logits, labels, 1) == (2.53 - 2) / 3);
}

BOOST_AUTO_TEST_CASE(certainty_is_in_the_last_bin) {
  const Tensor logits = tensor({0.F, -1000.F, -1000.F, 0.F}, {2, 2}), labels = tensor({0, 0});
  BOOST_TEST(accuracy(logits, labels) == 0.5);
  BOOST_TEST(nll(logits, labels) == 500.0);
  BOOST_TEST(ece(logits, labels) == 0.5);
}

BOOST_AUTO_TEST_CASE(calibrated_predictions_have_no_error) {
  // Four predictions at 0.75, three of them right.
  BOOST_TEST(ece(two_classes({0.75, 0.75, 0.75, 0.75}), tensor({0, 0, 1, 0})) < 1e-12);
}

BOOST_AUTO_TEST_CASE(reliability_counts_each_bin) {
  const auto bins = reliability(two_classes({0.9, 0.2, 0.75}), tensor({0, 0, 0}), 4);
  BOOST_TEST(bins.size() == 4U);
  BOOST_TEST(bins[2].count == 1);  // 0.75 belongs to (0.5, 0.75]
  BOOST_TEST(bins[2].right == 1.0);
  BOOST_TEST(bins[3].count == 2);
  BOOST_TEST(bins[3].right == 1.0);
  BOOST_TEST(bins[3].confidence == 1.7);
}

BOOST_AUTO_TEST_CASE(the_k_most_probable_classes) {
  const Tensor logits = tensor({3.0, 1.0, 2.0, 0.0, 0.0, 1.0}, {2, 3}), labels = tensor({1, 1});
  BOOST_TEST(top_k_accuracy(logits, labels, 1) == 0.0);
  BOOST_TEST(top_k_accuracy(logits, labels, 2) == 0.0);  // class 0 is as probable as class 1 and lower
  BOOST_TEST(top_k_accuracy(logits, labels, 3) == 1.0);
  BOOST_TEST(top_k_accuracy(logits, tensor({2, 0}), 2) == 1.0);
  BOOST_TEST(top_k_accuracy(logits, tensor({0, 2}), 1) == accuracy(logits, tensor({0, 2})));
  BOOST_CHECK_THROW(top_k_accuracy(logits, labels, 0), ValueError);
  BOOST_CHECK_THROW(top_k_accuracy(logits, labels, 4), ValueError);
}

BOOST_AUTO_TEST_CASE(confusions_by_label_and_prediction) {
  const Tensor logits = tensor({1.0, 0.0, 0.0, 1.0, 0.0, 2.0, 5.0, 5.0}, {4, 2});
  const Tensor counts = confusion_matrix(logits, tensor({0, 0, 1, 1}));
  BOOST_TEST(counts.values<std::int64_t>() == (std::vector<std::int64_t>{1, 1, 1, 1}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_row_with_nan_is_wrong_and_never_hidden) {
  const Tensor logits = tensor({std::nan(""), 0.0, 1.0, 0.0}, {2, 2}), labels = tensor({0, 0});
  BOOST_TEST(accuracy(logits, labels) == 0.5);
  BOOST_TEST(top_k_accuracy(logits, labels, 2) == 0.5);
  BOOST_TEST(std::isnan(nll(logits, labels)));
  BOOST_TEST(std::isnan(ece(logits, labels)));
  BOOST_TEST(sum(confusion_matrix(logits, labels)).item<std::int64_t>() == 1);
}

BOOST_AUTO_TEST_CASE(without_rows_there_is_no_mean) {
  const Tensor logits = zeros({0, 3}), labels = zeros({0}, DType::int64);
  for (const double mean : {accuracy(logits, labels), top_k_accuracy(logits, labels, 1), nll(logits, labels),
                            ece(logits, labels)})
    BOOST_TEST(std::isnan(mean));
  BOOST_TEST(sum(confusion_matrix(logits, labels)).item<std::int64_t>() == 0);
}

BOOST_AUTO_TEST_CASE(refused_inputs) {
  const Tensor logits = zeros({2, 3}), labels = tensor({0, 2});
  BOOST_CHECK_THROW(accuracy(zeros({2, 3}, DType::int64), labels), TypeError);
  BOOST_CHECK_THROW(accuracy(logits, zeros({2})), TypeError);
  BOOST_CHECK_THROW(nll(logits, tensor({0})), ShapeError);
  BOOST_CHECK_THROW(nll(zeros({2, 3, 1}), labels), ShapeError);
  BOOST_CHECK_THROW(ece(logits, tensor({0, 3})), IndexError);
  BOOST_CHECK_THROW(ece(logits, tensor({0, -1})), IndexError);
  BOOST_CHECK_THROW(ece(logits, labels, 0), ValueError);
}

BOOST_AUTO_TEST_CASE(rare_classes_count_as_much_as_frequent_ones) {
  // Class 0: three rows, one of them right; the others are predicted as 1 and 2. Class 1: one row, predicted
  // as 0.
  const Tensor logits = one_hot(tensor({0, 1, 2, 0}), 4).to(DType::float64);
  const Tensor labels = tensor({0, 0, 0, 1});
  BOOST_TEST(metrics::balanced_accuracy(logits, labels) == (1.0 / 3 + 0) / 2);
  BOOST_TEST(metrics::macro_f1(logits, labels) == (2.0 / (3 + 2) + 0 + 0) / 3);
  const Tensor right = tensor({9., 0., 0., 9.}, {2, 2});
  BOOST_TEST(metrics::balanced_accuracy(right, tensor({0, 1})) == 1.0);
  BOOST_TEST(metrics::macro_f1(right, tensor({0, 1})) == 1.0);
  BOOST_TEST(std::isnan(metrics::balanced_accuracy(zeros({0, 3}), zeros({0}, DType::int64))));
  BOOST_TEST(std::isnan(metrics::macro_f1(zeros({0, 3}), zeros({0}, DType::int64))));
  const Tensor broken = tensor({std::nan(""), 0., 9., 0.}, {2, 2});
  BOOST_TEST(metrics::balanced_accuracy(broken, tensor({0, 0})) == 0.5);
  BOOST_TEST(metrics::macro_f1(broken, tensor({0, 0})) == 2.0 / 3);
  BOOST_CHECK_THROW(metrics::balanced_accuracy(right, tensor({0, 2})), IndexError);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
