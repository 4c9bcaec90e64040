// gradcheck and gradgradcheck find a wrong rule and report where it is wrong.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <sstream>

#include "retort/retort.hpp"
#include "tests_support.hpp"

using namespace retort;
using tests::thrown_text;

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

/// y = x² with rules off by a factor each.
Tensor square_of_two_rules(const Tensor& x, double plain, double fast) {
  return record({.name = "square_of_two_rules",
                 .inputs = {x},
                 .value = x.detach() * x.detach(),
                 .vjp = [x, plain](const Tensor& g, Needs) { return g * x * (2 * plain); },
                 .fast_vjp = [x, fast](const Tensor& g, Needs) { return g * x * (2 * fast); }});
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

BOOST_AUTO_TEST_CASE(a_wrong_gradient_is_reported_with_the_rules_that_gave_it) {
  const auto report = [](double plain, double fast) {
    std::ostringstream text;
    text << gradcheck([&](const Tensors& in) { return square_of_two_rules(in[0], plain, fast); },
                      {leaf({2.0})});
    return text.str();
  };
  BOOST_TEST(report(1, 1) == "passed");
  BOOST_TEST(report(1.5, 1).find("(by the .vjp rules)") != std::string::npos);
  BOOST_TEST(report(1, 1.5).find("(by the .fast_vjp rules)") != std::string::npos);
  BOOST_TEST(report(1.5, 1.5).find("(by the rules, .vjp as well as .fast_vjp)") != std::string::npos);
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

BOOST_AUTO_TEST_CASE(a_wrong_second_derivative_is_reported_with_its_place) {
  const GradcheckReport cut =
      gradgradcheck([](const Tensors& in) { return cube_with_cut_rule(in[0]); }, {leaf({1.0, 2.0})});
  BOOST_TEST(cut.input == 0);
  BOOST_TEST(cut.what.starts_with("gradgradcheck: input 0, element 0: analytic "));
  // A gradient that ignores how it depends on the cotangent.
  const auto cut_cotangent = [](const Tensors& in) {
    return record({.name = "cut_cotangent",
                   .inputs = {in[0]},
                   .value = in[0].detach() * in[0].detach(),
                   .vjp = [x = in[0]](const Tensor& g, Needs) { return Tensors{g.detach() * 2.0 * x}; }});
  };
  const GradcheckReport report = gradgradcheck(cut_cotangent, {leaf({1.0, 2.0})});
  BOOST_TEST(report.input == 1);
  BOOST_TEST(report.what.starts_with("gradgradcheck: the cotangent, element 0: analytic "));
}

BOOST_AUTO_TEST_CASE(inputs_that_are_undefined_and_results_of_several_shapes_are_errors) {
  const auto first = [](const Tensors& in) { return in[0] * 2.0; };
  BOOST_TEST(thrown_text<ValueError>([&] {
               gradcheck(first, {leaf({1.0}), Tensor()});
             }).starts_with("gradcheck: input 1 is undefined"));
  for (const int constant_for : {1, 2, 3}) {  // calls: for each of the rules, then for the differences
    int calls = 0;
    const auto growing = [&](const Tensors& in) {
      return ++calls <= constant_for ? in[0] * 2.0 : concat({in[0], in[0]}, 0);
    };
    BOOST_TEST(thrown_text<ShapeError>([&] { gradcheck(growing, {leaf({1.0})}); }) ==
               "gradcheck: the function returned shape (2), and before that (1); it must be deterministic");
    calls = 0;
    BOOST_TEST(
        thrown_text<ShapeError>([&] { gradgradcheck(growing, {leaf({1.0})}); }) ==
        "gradgradcheck: the function returned shape (2), and before that (1); it must be deterministic");
  }
}

BOOST_AUTO_TEST_CASE(both_rules_are_checked) {
  const auto with = [](double plain, double fast) {
    return [=](const Tensors& in) { return exp(square_of_two_rules(in[0], plain, fast)); };
  };
  const Tensors inputs{leaf({0.3, -0.5})};
  BOOST_TEST(bool(gradcheck(with(1, 1), inputs)));
  BOOST_TEST(bool(gradgradcheck(with(1, 1), inputs)));
  BOOST_TEST(!bool(gradcheck(with(1, 1.5), inputs)));
  const GradcheckReport report = gradcheck(with(1.5, 1), inputs);
  BOOST_TEST(!bool(report));
  BOOST_TEST(report.what.find(".vjp") != std::string::npos);
  BOOST_TEST(!bool(gradgradcheck(with(1.5, 1), inputs)));
  BOOST_TEST(!bool(gradgradcheck(with(1, 1.5), inputs)));
  // A rule that runs only within another's derivative counts, too.
  const auto nested = [](const Tensors& in) {
    return record({.name = "outer",
                   .inputs = {in[0]},
                   .value = exp(in[0].detach()),
                   .vjp = [x = in[0]](const Tensor& g, Needs) {
                     return g * exp(x) * (1 + square_of_two_rules(x, 1.5, 1) - x * x);
                   }});
  };
  BOOST_TEST(bool(gradcheck(nested, inputs)));
  BOOST_TEST(!bool(gradgradcheck(nested, inputs)));
}

BOOST_AUTO_TEST_CASE(an_operation_with_a_fast_rule_only_is_checked_by_it) {
  const auto with = [](double factor) {
    return [=](const Tensors& in) {
      return record({.name = "fast_only",
                     .inputs = {in[0]},
                     .value = in[0].detach() * in[0].detach(),
                     .fast_vjp = [x = in[0], factor](const Tensor& g, Needs) { return g * x * factor; }});
    };
  };
  BOOST_TEST(bool(gradcheck(with(2), {leaf({0.3, -0.5})})));
  BOOST_TEST(!bool(gradcheck(with(3), {leaf({0.3, -0.5})})));
}

BOOST_AUTO_TEST_CASE(inputs_that_require_no_gradient_are_all_checked_when_none_does) {
  const auto wrong = [](const Tensors& in) { return square_with_error(in[0], 0, 0.5) + in[1]; };
  BOOST_TEST(!bool(gradcheck(wrong, {tensor({1.0}), tensor({2.0})})));
  BOOST_TEST(bool(gradcheck(wrong, {tensor({1.0}), leaf({2.0})})));  // only the second requires a gradient
}

BOOST_AUTO_TEST_CASE(options_out_of_range_and_an_empty_function_are_refused) {
  const auto f = [](const Tensors& in) { return in[0]; };
  for (const GradcheckOptions& options :
       {GradcheckOptions{.eps = 0}, {.eps = -1}, {.atol = -1}, {.rtol = std::nan("")}}) {
    BOOST_CHECK_THROW(gradcheck(f, {tensor({1.0})}, options), ValueError);
    BOOST_CHECK_THROW(gradgradcheck(f, {tensor({1.0})}, options), ValueError);
  }
  BOOST_CHECK_THROW(gradcheck({}, {tensor({1.0})}), ValueError);
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
