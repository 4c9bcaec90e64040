#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "retort/framework/core/engine.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/optim/clip_grad.hpp"

namespace rt = retort;

namespace {

const double infinity = std::numeric_limits<double>::infinity();
const double not_a_number = std::numeric_limits<double>::quiet_NaN();
const auto exact = boost::test_tools::tolerance(1e-12);

/// Two parameters with gradients (3, 0) and (-4), of different types, and one without.
rt::Tensors parameters() {
  rt::Tensors p{rt::zeros({2}, rt::DType::float64).set_requires_grad(), rt::zeros({}).set_requires_grad(),
                rt::zeros({3}).set_requires_grad()};
  p[0].set_grad(rt::tensor({3.0, 0.0}));
  p[1].set_grad(rt::full({}, -4.0));
  return p;
}

void set_second_gradient(const rt::Tensor& leaf, double value) {
  const rt::Tensor gradient = leaf.grad();
  gradient.mutable_data<double>()[1] = value;
}
double first_gradient(const rt::Tensors& p) { return p[0].grad().values<double>()[0]; }

}  // namespace

BOOST_AUTO_TEST_SUITE(clip_grad)

BOOST_AUTO_TEST_CASE(norms_are_returned_as_they_were) {
  BOOST_TEST(rt::clip_grad_norm(parameters(), 1) == 5.0, exact);
  BOOST_TEST(rt::clip_grad_norm(parameters(), 1, 1) == 7.0, exact);
  BOOST_TEST(rt::clip_grad_norm(parameters(), 1, 3) == std::cbrt(27.0 + 64), exact);
  BOOST_TEST(rt::clip_grad_norm(parameters(), 1, infinity) == 4.0, exact);
  BOOST_TEST(rt::clip_grad_norm({}, 1) == 0.0);
}

BOOST_AUTO_TEST_CASE(gradients_shrink_to_the_bound_and_never_grow) {
  const rt::Tensors p = parameters();
  rt::clip_grad_norm(p, 10);
  BOOST_TEST(first_gradient(p) == 3.0);
  rt::clip_grad_norm(p, 2.5);
  BOOST_TEST(first_gradient(p) == 3 * 2.5 / (5 + 1e-6), exact);
  BOOST_TEST(p[1].grad().item<double>() == -2.0, boost::test_tools::tolerance(1e-6));
  BOOST_TEST(!p[2].grad().defined());
  rt::clip_grad_norm(p, infinity);
  BOOST_TEST(p[1].grad().item<double>() == -2.0, boost::test_tools::tolerance(1e-6));
  rt::clip_grad_norm(p, 0);
  BOOST_TEST(first_gradient(p) == 0.0);
}

BOOST_AUTO_TEST_CASE(nan_and_infinity_are_not_hidden) {
  for (const double type : {2.0, 1.0, infinity}) {
    const rt::Tensors p = parameters();
    set_second_gradient(p[0], not_a_number);
    BOOST_TEST(std::isnan(rt::clip_grad_norm(p, 1, type)));
    BOOST_TEST(std::isnan(first_gradient(p)));
    BOOST_TEST(std::isnan(p[1].grad().item<double>()));
  }
  const rt::Tensors p = parameters();
  set_second_gradient(p[0], infinity);
  BOOST_TEST(rt::clip_grad_norm(p, 1) == infinity);
  BOOST_TEST(first_gradient(p) == 0.0);
  BOOST_TEST(std::isnan(p[0].grad().values<double>()[1]));
}

BOOST_AUTO_TEST_CASE(values_are_limited_one_by_one) {
  const rt::Tensors p = parameters();
  set_second_gradient(p[0], not_a_number);
  rt::clip_grad_value(p, 3.5);
  BOOST_TEST(first_gradient(p) == 3.0);
  BOOST_TEST(std::isnan(p[0].grad().values<double>()[1]));
  BOOST_TEST(p[1].grad().item<double>() == -3.5);
  rt::clip_grad_value(p, 0);
  BOOST_TEST(first_gradient(p) == 0.0);
}

BOOST_AUTO_TEST_CASE(gradients_share_nothing_with_each_other) {
  const rt::Tensor a = rt::ones({2}).set_requires_grad(), b = rt::ones({2}).set_requires_grad();
  rt::sum(a + b).backward();
  rt::clip_grad_value({a}, 0.5);
  BOOST_TEST(a.grad().values<float>()[0] == 0.5F);
  BOOST_TEST(b.grad().values<float>()[0] == 1.0F);
}

BOOST_AUTO_TEST_CASE(bad_arguments_change_nothing) {
  const rt::Tensors p = parameters();
  BOOST_CHECK_THROW(rt::clip_grad_norm(p, -1), rt::ValueError);
  BOOST_CHECK_THROW(rt::clip_grad_norm(p, not_a_number), rt::ValueError);
  BOOST_CHECK_THROW(rt::clip_grad_norm(p, 1, 0), rt::ValueError);
  BOOST_CHECK_THROW(rt::clip_grad_norm(p, 1, -2), rt::ValueError);
  BOOST_CHECK_THROW(rt::clip_grad_norm(p, 1, not_a_number), rt::ValueError);
  BOOST_CHECK_THROW(rt::clip_grad_value(p, -1), rt::ValueError);
  BOOST_CHECK_THROW(rt::clip_grad_value(p, not_a_number), rt::ValueError);
  BOOST_TEST(first_gradient(p) == 3.0);
}

BOOST_AUTO_TEST_SUITE_END()
