// The sparse distillation loss: its kernel against its definition, and its bounds.
#include "retort/losses/sparse_distillation_loss.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "op_cases.hpp"
#include "retort/framework/base/random.hpp"
#include "retort/framework/base/threads.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/losses/distillation_loss.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Student logits of several kinds, by row.
Tensor students(std::int64_t rows, std::int64_t classes, DType dtype) {
  Tensor s = randn({rows, classes}, DType::float64);
  double* const x = s.mutable_data<double>().data();
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t c = 0; c < classes; ++c) {
      double& value = x[i * classes + c];
      if (i % 6 == 1) value *= 10;
      if (i % 6 == 2) value = 1e4 * value;
      if (i % 6 == 3) value += static_cast<double>(c);      // the shift rises in each block
      if (i % 6 == 4) value -= 3 * static_cast<double>(c);  // and the rest vanishes
      if (i % 6 == 5 && c % 7 == 3) value = -infinity;
    }
  return s.to(dtype);
}

double largest_gap(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.values<double>(), y = b.values<double>();
  double most = 0, size = 1e-30;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isinf(x[i]) && x[i] == y[i]) continue;
    most = std::max(most, std::isnan(x[i] - y[i]) ? infinity : std::abs(x[i] - y[i]));
    size = std::max(size, std::isfinite(y[i]) ? std::abs(y[i]) : 0);
  }
  return most / size;
}

BOOST_AUTO_TEST_SUITE(sparse_distillation)

BOOST_AUTO_TEST_CASE(the_kernel_is_the_definition) {
  manual_seed(7);
  for (const std::int64_t classes : {5, 64, 1500, 2600})
    for (const double T : {0.5, 1.0, 2.0, 3.5, 4.0, 100.0})
      for (const Tail tail : {Tail::bucket, Tail::drop, Tail::renormalize})
        for (const double alpha : {1.0, 0.4, 0.0}) {
          const Tensor student = students(12, classes, DType::float64).set_requires_grad();
          SparseTeacher teacher = sparse_teacher(randn({12, classes}, DType::float64) * 2, 3, T);
          const SparseDistillationInputs in{.student = student,
                                            .teacher = teacher,
                                            .labels = indices({12}, 3, 3),
                                            .weight = uniform({12}, 4, 0, 2)};
          const SparseDistillationLossOptions options{
              .alpha = alpha, .tail = tail, .reduction = Reduction::none};
          BOOST_TEST_CONTEXT(classes << " classes, T " << T << ", tail " << static_cast<int>(tail)
                                     << ", alpha " << alpha) {
            // Recording the gradient computes it by the definition.
            const Tensor loss = sparse_distillation_loss(in, options);
            const Tensor fast = grad({sum(loss)}, {student})[0];
            const Tensor again = sparse_distillation_loss(in, options);
            const Tensor slow = grad({sum(again)}, {student}, {.create_graph = true})[0].detach();
            BOOST_TEST(largest_gap(fast, slow) < 1e-9);

            // float32 against float64.
            const Tensor narrow = student.detach().to(DType::float32).set_requires_grad();
            const Tensor wide = narrow.detach().to(DType::float64).set_requires_grad();
            SparseDistillationInputs narrow_in = in, wide_in = in;
            narrow_in.student = narrow;
            wide_in.student = wide;
            const Tensor narrow_loss = sparse_distillation_loss(narrow_in, options);
            const Tensor wide_loss = sparse_distillation_loss(wide_in, options);
            BOOST_TEST(largest_gap(narrow_loss, wide_loss) < 1e-5);
            BOOST_TEST(largest_gap(grad({sum(narrow_loss)}, {narrow})[0], grad({sum(wide_loss)}, {wide})[0]) <
                       2e-5);
          }
        }
}

BOOST_AUTO_TEST_CASE(the_bucket_is_a_lower_bound_and_exact_for_all_classes) {
  manual_seed(8);
  for (int trial = 0; trial < 60; ++trial) {
    const std::int64_t classes = 2 + trial * trial % 97;
    const double T = 0.3 + trial % 5;
    const Tensor student = randn({6, classes}, DType::float64) * (1 + trial % 4);
    const Tensor dense = randn({6, classes}, DType::float64) * (1 + trial % 3);
    const std::vector<double> whole = distillation_loss({.student = student, .teacher = dense},
                                                        {.temperature = T, .reduction = Reduction::none})
                                          .values<double>();
    for (const std::int64_t k : {std::int64_t{1}, classes / 2 + 1, classes - 1, classes}) {
      const std::vector<double> part =
          sparse_distillation_loss({.student = student, .teacher = sparse_teacher(dense, k, T)},
                                   {.reduction = Reduction::none})
              .values<double>();
      for (std::size_t i = 0; i < whole.size(); ++i) {
        BOOST_TEST(part[i] <= whole[i] + 1e-10);
        if (k == classes) BOOST_TEST(std::abs(part[i] - whole[i]) < 1e-9);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(tails_that_vanish_keep_their_logarithm) {
  // The rest of the student is e^-300 and e^-300/3 of the kept class, beyond float32.
  const Tensor student = tensor({0.0F, -300.0F, -300.0F, -300.0F}, {1, 4}).set_requires_grad();
  SparseTeacher teacher = sparse_teacher(tensor({2.0F, 0.0F, 0.0F, 0.0F}, {1, 4}), 1, 1);
  const Tensor loss = sparse_distillation_loss({.student = student, .teacher = teacher});
  const double p = std::exp(2) / (std::exp(2) + 3), tail = 1 - p;
  BOOST_TEST(loss.item<double>() == p * std::log(p) + tail * (std::log(tail) + 300 - std::log(3)),
             boost::test_tools::tolerance(1e-6));
  const std::vector<double> gradient = grad({loss}, {student})[0].values<double>();
  BOOST_TEST(gradient[0] == 1 - p, boost::test_tools::tolerance(1e-6));
  for (std::size_t c = 1; c < 4; ++c)
    BOOST_TEST(gradient[c] == -tail / 3, boost::test_tools::tolerance(1e-6));
}

BOOST_AUTO_TEST_CASE(masked_rows_may_hold_anything) {
  const double nan = std::nan("");
  const Tensor student = tensor({1.0, 2.0, 3.0, nan, nan, nan}, {2, 3}).set_requires_grad();
  SparseTeacher teacher = sparse_teacher(tensor({1.0, 0.0, 2.0, 1.0, 0.0, 2.0}, {2, 3}), 2, 2);
  teacher.indices.mutable_data<std::int64_t>()[2] = 99;
  teacher.log_probs.mutable_data<double>()[3] = nan;
  const Tensor loss = sparse_distillation_loss(
      {.student = student, .teacher = teacher, .mask = tensor({1, 0}), .weight = tensor({1.0, nan})});
  BOOST_TEST(std::isfinite(loss.item<double>()));
  const std::vector<double> gradient = grad({loss}, {student})[0].values<double>();
  for (std::size_t c = 0; c < 3; ++c) BOOST_TEST((std::isfinite(gradient[c]) && gradient[c + 3] == 0));
}

BOOST_AUTO_TEST_CASE(the_bits_are_those_of_one_thread) {
  const Tensor student = randn({64, 3000}).set_requires_grad();
  const SparseTeacher teacher = sparse_teacher(randn({64, 3000}), 9, 2);
  const Tensor labels = indices({64}, 3, 3000);
  const int threads = get_num_threads();
  std::vector<std::vector<double>> results;
  for (const int n : {1, 2, 3}) {
    set_num_threads(n);
    const Tensor loss =
        sparse_distillation_loss({.student = student, .teacher = teacher, .labels = labels}, {.alpha = 0.5});
    results.push_back(grad({loss}, {student})[0].values<double>());
  }
  set_num_threads(threads);
  BOOST_TEST((results[0] == results[1] && results[0] == results[2]));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
