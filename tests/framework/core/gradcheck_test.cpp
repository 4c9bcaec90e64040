// gradcheck and gradgradcheck find a wrong rule, and say where.
#include <boost/test/unit_test.hpp>
#include <sstream>

#include "retort/retort.hpp"

using namespace retort;

namespace {

/// y = x²; the rule is wrong by `error` in the element at `position`.
Tensor square_with_error(const Tensor& x, std::int64_t position, double error) {
  Tensor slip = zeros(x.shape(), DType::float64);
  slip.mutable_data<double>()[static_cast<std::size_t>(position)] = error;
  return record({.name = "square_with_error",
                 .inputs = {x},
                 .value = x.detach() * x.detach(),
                 .vjp = [x, slip](const Tensor& g, Needs) { return Tensors{g * (2.0 * x + slip)}; }});
}

/// y = x³ whose first derivative is right and whose second is not: the rule holds x as a constant.
Tensor cube_with_cut_rule(const Tensor& x) {
  return record({.name = "cube_with_cut_rule",
                 .inputs = {x},
                 .value = x.detach() * x.detach() * x.detach(),
                 .vjp = [x](const Tensor& g, Needs) { return Tensors{g * 3.0 * x.detach() * x.detach()}; }});
}

Tensor leaf(const std::vector<double>& values) { return tensor(values).set_requires_grad(); }

}  // namespace

BOOST_AUTO_TEST_SUITE(gradient_checks)

BOOST_AUTO_TEST_CASE(a_wrong_gradient_is_reported_with_its_place) {
  const auto f = [](const Tensors& in) { return in[0] + square_with_error(in[1], 2, 0.5); };
  const GradcheckReport report = gradcheck(f, {leaf({1.0, 2.0, 3.0}), leaf({1.0, 2.0, 3.0})});
  BOOST_TEST(!bool(report));
  BOOST_TEST(report.input == 1);
  BOOST_TEST(report.element == 2);
  BOOST_TEST(report.analytic != report.numeric);
  std::ostringstream text;
  text << report;
  BOOST_TEST(text.str().find("input 1") != std::string::npos);
  BOOST_TEST(text.str().find("element 2") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_right_gradient_passes_and_the_inputs_stay_as_they_were) {
  const Tensor x = leaf({1.0, -2.0, 3.0});
  const GradcheckReport report = gradcheck([](const Tensors& in) { return in[0] * in[0]; }, {x});
  BOOST_TEST(bool(report));
  BOOST_TEST(report.what.empty());
  const std::vector<double> same{1.0, -2.0, 3.0};
  BOOST_TEST(x.values<double>() == same, boost::test_tools::per_element());
  BOOST_TEST(!x.grad().defined());
}

BOOST_AUTO_TEST_CASE(a_rule_that_holds_its_input_constant_fails_the_second_order) {
  const auto f = [](const Tensors& in) { return cube_with_cut_rule(in[0]); };
  BOOST_TEST(bool(gradcheck(f, {leaf({1.0, 2.0})})));
  BOOST_TEST(!bool(gradgradcheck(f, {leaf({1.0, 2.0})})));
}

BOOST_AUTO_TEST_CASE(inputs_that_require_no_gradient_are_all_checked_when_none_does) {
  const auto wrong = [](const Tensors& in) { return square_with_error(in[0], 0, 0.5) + in[1]; };
  BOOST_TEST(!bool(gradcheck(wrong, {tensor({1.0}), tensor({2.0})})));
  BOOST_TEST(bool(gradcheck(wrong, {tensor({1.0}), leaf({2.0})})));  // only the second wants one
}

BOOST_AUTO_TEST_CASE(float32_inputs_are_refused) {
  BOOST_CHECK_THROW(gradcheck([](const Tensors& in) { return in[0]; }, {tensor({1.f})}), TypeError);
}

BOOST_AUTO_TEST_CASE(a_result_that_is_nan_or_that_does_not_depend_on_its_input) {
  const auto constant = [](const Tensors&) { return tensor({4.0}); };
  BOOST_TEST(bool(gradcheck(constant, {leaf({1.0})})));
  const auto undefined = [](const Tensors& in) { return log(in[0]); };
  BOOST_TEST(!bool(gradcheck(undefined, {leaf({-1.0})})));
}

BOOST_AUTO_TEST_SUITE_END()
