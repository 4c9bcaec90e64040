#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "retort/retort.hpp"

using namespace retort;

namespace {

double largest_difference(const Tensor& a, const Tensor& b) { return max(abs(a - b)).item<double>(); }

BOOST_AUTO_TEST_SUITE(dense_logits_of_sparse_teachers)

BOOST_AUTO_TEST_CASE(kept_classes_keep_their_probabilities_and_the_others_share_the_rest) {
  manual_seed(1);
  const Tensor logits = randn({2, 3, 7}, DType::float64);
  for (const double temperature : {1.0, 2.5}) {
    const SparseTeacher teacher = sparse_teacher(logits, 3, temperature);
    const Tensor p = softmax(dense_logits(teacher) / temperature, -1);
    BOOST_TEST(p.shape() == logits.shape());
    BOOST_TEST(largest_difference(sum(p, -1), ones({2, 3}, DType::float64)) < 1e-12);
    BOOST_TEST(largest_difference(gather(p, 2, teacher.indices), exp(teacher.log_probs)) < 1e-12);
    const SparseTeacher rest = sparse_teacher(-dense_logits(teacher), 4, temperature);
    const Tensor others = gather(p, 2, rest.indices);
    BOOST_TEST(largest_difference(
                   others, broadcast_to(unsqueeze(exp(teacher.log_tail) / 4.0, 2), others.shape())) < 1e-12);
    const SparseTeacher all = sparse_teacher(logits, 7, temperature);
    BOOST_TEST(largest_difference(softmax(dense_logits(all) / temperature, -1),
                                  softmax(logits / temperature, -1)) < 1e-12);
  }
}

BOOST_AUTO_TEST_CASE(probability_0_stays_0) {
  const double inf = std::numeric_limits<double>::infinity();
  const SparseTeacher teacher = sparse_teacher(tensor({0.0, -inf, 0.0, -inf}, {1, 4}), 3, 1);
  const std::vector<double> logits = dense_logits(teacher).values<double>();
  BOOST_TEST(logits[0] == std::log(0.5), boost::test_tools::tolerance(1e-12));
  BOOST_TEST(logits[1] == -inf);
  BOOST_TEST(logits[3] == -inf);
  BOOST_TEST(dense_logits(sparse_teacher(zeros({0, 4}), 2, 1)).shape() == (Shape{0, 4}));
}

BOOST_AUTO_TEST_CASE(tensors_that_do_not_fit_are_refused) {
  SparseTeacher teacher = sparse_teacher(zeros({2, 4}), 2, 1);
  teacher.log_tail = zeros({3});
  BOOST_CHECK_THROW(dense_logits(teacher), ShapeError);
  teacher = sparse_teacher(zeros({2, 4}), 2, 1);
  teacher.classes = 1;
  BOOST_CHECK_THROW(dense_logits(teacher), ShapeError);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
