// The decoupled loss: its kernel against its definition.
#include "retort/losses/decoupled_distillation_loss.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "op_cases.hpp"
#include "retort/framework/base/random.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"

using namespace retort;
using namespace retort::tests;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

void check_near(const Tensor& got, const Tensor& want, double relative) {
  const Doubles a = got.values<double>(), b = want.values<double>();
  double size = 1e-30;
  for (const double value : b) size = std::max(size, std::abs(value));
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(a[i] - b[i]) <= relative * size)) {
      BOOST_ERROR("element " << i << " is " << a[i] << " instead of " << b[i]);
      return;
    }
}

BOOST_AUTO_TEST_SUITE(decoupled_distillation)

BOOST_AUTO_TEST_CASE(the_kernel_is_the_definition) {
  manual_seed(3);
  for (const std::int64_t classes : {2, 7, 70, 2600})
    for (const double T : {0.5, 4.0, 100.0})
      for (const Reduction reduction : {Reduction::none, Reduction::batchmean}) {
        Tensor logits = randn({8, classes}, DType::float64);
        double* const x = logits.mutable_data<double>().data();
        for (std::int64_t c = 0; c < classes; ++c) {
          x[classes + c] *= 1e3;
          x[2 * classes + c] += static_cast<double>(c);  // the shift rises in each block
          x[3 * classes + c] -= c == 1 ? 0 : 500;        // all but the label
        }
        const Tensor teacher = randn({8, classes}, DType::float64) * 3;
        const Tensor labels = full({8}, 1).to(DType::int64), mask = tensor({1, 1, 1, 1, 0, 1, 1, 0});
        const DecoupledDistillationLossOptions options{
            .temperature = T, .alpha = 0.7, .beta = 3, .reduction = reduction};
        const auto loss_of = [&](const Tensor& s) {
          return decoupled_distillation_loss({.student = s,
                                              .teacher = teacher.to(s.dtype()),
                                              .labels = labels,
                                              .mask = mask,
                                              .weight = uniform({8}, 4, 0.5, 2)},
                                             options);
        };
        BOOST_TEST_CONTEXT(classes << " classes, T " << T) {
          const Tensor student = logits.clone().set_requires_grad();
          const Tensor fast = grad({sum(loss_of(student))}, {student})[0];
          // Recording the gradient computes it by the definition.
          const Tensor slow = grad({sum(loss_of(student))}, {student}, {.create_graph = true})[0].detach();
          check_near(fast, slow, 1e-9);
          const Tensor narrow = logits.to(DType::float32).set_requires_grad();
          const Tensor wide = narrow.detach().to(DType::float64).set_requires_grad();
          const Tensor narrow_loss = loss_of(narrow), wide_loss = loss_of(wide);
          check_near(narrow_loss, wide_loss, 1e-5);
          check_near(grad({sum(narrow_loss)}, {narrow})[0], grad({sum(wide_loss)}, {wide})[0], 3e-5);
        }
      }
}

BOOST_AUTO_TEST_CASE(rows_without_other_classes_are_left_to_the_definition) {
  const Tensor student = tensor({1.0, -infinity, -infinity, 0.0, 1.0, 2.0}, {2, 3}).set_requires_grad();
  const Tensor teacher = tensor({5.0, -infinity, -infinity, 2.0, 1.0, 0.0}, {2, 3});
  const auto loss_of = [&](const Tensor& s, const Tensor& t, const Tensor& labels) {
    return decoupled_distillation_loss({.student = s, .teacher = t, .labels = labels},
                                       {.reduction = Reduction::none});
  };
  const Tensor both = loss_of(student, teacher, tensor({0, 1}));
  BOOST_TEST(both.values<double>()[0] == 0);
  const Tensor alone = loss_of(tensor({0.0, 1.0, 2.0}, {1, 3}), tensor({2.0, 1.0, 0.0}, {1, 3}), tensor({1}));
  BOOST_TEST(both.values<double>()[1] == alone.values<double>()[0], boost::test_tools::tolerance(1e-9));
  const Doubles gradient = grad({sum(both)}, {student})[0].values<double>();
  for (std::size_t c = 0; c < 3; ++c) BOOST_TEST(gradient[c] == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
