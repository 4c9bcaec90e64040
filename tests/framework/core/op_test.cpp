// record(): what a user's operation may give, and what is refused.
#include <array>
#include <boost/test/unit_test.hpp>
#include <string>

#include "retort/retort.hpp"
#include "tests_support.hpp"

using namespace retort;
using retort::tests::thrown_text;

namespace {

Tensor leaf(const std::vector<double>& values) { return tensor(values).set_requires_grad(); }

Tensor cube(const Tensor& x) {
  return record({.name = "cube",
                 .inputs = {x},
                 .value = x.detach() * x.detach() * x.detach(),
                 .vjp = [x](const Tensor& g, Needs) { return Tensors{g * 3.0 * x * x}; }});
}

Tensor product(const Tensor& a, const Tensor& b) {
  const auto twin = [](const Tensors& in) { return in[0] * in[1]; };
  return record({.name = "product",
                 .inputs = {a, b},
                 .value = a.detach() * b.detach(),
                 .vjp = vjp_by_reference(twin, {a, b})});
}

}  // namespace

BOOST_AUTO_TEST_SUITE(record_op)

BOOST_AUTO_TEST_CASE(a_users_operation_is_right_to_any_order) {
  const Tensors inputs{tensor({0.5, -1.5, 2.0}).set_requires_grad()};
  const auto f = [](const Tensors& in) { return cube(in[0]); };
  BOOST_TEST(bool(gradcheck(f, inputs)), gradcheck(f, inputs));
  BOOST_TEST(bool(gradgradcheck(f, inputs)), gradgradcheck(f, inputs));
  const Tensor x = leaf({2.0});
  const Tensor first = grad({cube(x)}, {x}, {.create_graph = true})[0];
  const Tensor second = grad({first}, {x}, {.create_graph = true})[0];
  BOOST_TEST(second.item<double>() == 12.0);
  BOOST_TEST(grad({second}, {x})[0].item<double>() == 6.0);
}

BOOST_AUTO_TEST_CASE(an_operation_without_a_rule_throws_when_it_is_recorded) {
  const Tensor x = leaf({2.0});
  const auto lonely = [](const Tensor& in) {
    return record({.name = "lonely", .inputs = {in}, .value = in.detach() * in.detach()});
  };
  BOOST_TEST(thrown_text<GraphError>([&] { lonely(x); }).find("lonely") != std::string::npos);
  BOOST_TEST(lonely(x.detach()).item<double>() == 4.0);
  BOOST_TEST(no_grad([&] { return lonely(x); }).item<double>() == 4.0);
  const Tensor sign = record({.name = "sign", .inputs = {x}, .value = tensor({1})});
  BOOST_TEST(!sign.requires_grad());
}

BOOST_AUTO_TEST_CASE(a_rule_that_gives_the_wrong_number_of_gradients_is_named) {
  const Tensor x = leaf({2.0});
  const Tensor y = record(
      {.name = "generous", .inputs = {x}, .value = x.detach() * 2.0, .vjp = [](const Tensor& g, Needs) {
         return Tensors{g, g};
       }});
  BOOST_TEST(thrown_text<GraphError>([&] { y.backward(); }).find("generous") != std::string::npos);
  const Tensor a = leaf({2.0});
  const Tensor z = record(
      {.name = "stingy", .inputs = {x, a}, .value = x.detach() * 2.0, .vjp = [](const Tensor& g, Needs) {
         return Tensors{g};
       }});
  BOOST_TEST(thrown_text<GraphError>([&] { z.backward(); }).find("stingy") != std::string::npos);
  BOOST_TEST(!x.grad().defined());
}

BOOST_AUTO_TEST_CASE(a_rule_that_gives_a_wrong_shape_is_named) {
  const Tensor x = leaf({2.0, 3.0});
  const Tensor y =
      record({.name = "misshapen", .inputs = {x}, .value = sum(x.detach()), .vjp = [](const Tensor&, Needs) {
                return Tensors{ones({3}, DType::float64)};
              }});
  const std::string text = thrown_text<ShapeError>([&] { y.backward(); });
  BOOST_TEST(text.find("misshapen") != std::string::npos);
  BOOST_TEST(text.find("(3)") != std::string::npos);
  BOOST_TEST(text.find("(2)") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_gradient_of_the_broadcast_shape_or_of_a_wider_type_is_fitted) {
  const Tensor x = tensor({2.f}).set_requires_grad();
  const Tensor y = record({.name = "spread",
                           .inputs = {x},
                           .value = broadcast_to(x.detach(), {3, 1}),
                           .vjp = [](const Tensor& g, Needs) { return Tensors{g.to(DType::float64)}; }});
  sum(y).backward();
  BOOST_TEST((x.grad().shape() == Shape{1}));
  BOOST_TEST((x.grad().dtype() == DType::float32));
  BOOST_TEST(x.grad().item<float>() == 3.f);
}

BOOST_AUTO_TEST_CASE(needs_says_which_inputs_want_a_gradient) {
  const Tensor x = leaf({2.0}), frozen = tensor({3.0}), other = leaf({5.0});
  std::array<bool, 3> asked{};
  const Tensor y = record({.name = "asks",
                           .inputs = {x, frozen, other},
                           .value = x.detach(),
                           .vjp = [&](const Tensor& g, Needs needs) {
                             asked = {needs[0], needs[1], needs[2]};
                             return Tensors{g, Tensor(), g};
                           }});
  y.backward({}, {.retain_graph = true});
  BOOST_TEST((asked == std::array<bool, 3>{true, false, true}));
  grad({y}, {other});
  BOOST_TEST((asked == std::array<bool, 3>{false, false, true}));
}

BOOST_AUTO_TEST_CASE(an_undefined_gradient_means_that_nothing_flows) {
  const Tensor x = leaf({2.0}), a = leaf({3.0});
  const Tensor y =
      record({.name = "half", .inputs = {x, a}, .value = x.detach(), .vjp = [](const Tensor& g, Needs) {
                return Tensors{g, Tensor()};
              }});
  y.backward();
  BOOST_TEST(x.grad().item<double>() == 1.0);
  BOOST_TEST(!a.grad().defined());
}

BOOST_AUTO_TEST_CASE(a_rule_may_ask_for_the_result) {
  const Tensor x = leaf({0.5});
  double seen = 0;
  const auto doubled = [&](const Tensor& in) {
    return record({.name = "doubled_exp",
                   .inputs = {in},
                   .value = exp(in.detach()) * 2.0,
                   .vjp = [&seen](const Tensor& g, const Tensor& y, Needs) {
                     seen = y.item<double>();
                     return Tensors{g * y};
                   }});
  };
  const Tensor y = doubled(x);
  const Tensor first = grad({y}, {x}, {.create_graph = true})[0];
  BOOST_TEST(seen == y.item<double>());
  BOOST_TEST(grad({first}, {x})[0].item<double>() == y.item<double>());
}

BOOST_AUTO_TEST_CASE(the_fast_rule_is_taken_when_nothing_is_recorded) {
  const Tensor x = leaf({2.0});
  int fast = 0, slow = 0;
  const auto square = [&](const Tensor& in) {
    return record({.name = "square",
                   .inputs = {in},
                   .value = in.detach() * in.detach(),
                   .vjp =
                       [in, &slow](const Tensor& g, Needs) {
                         ++slow;
                         return Tensors{g * 2.0 * in};
                       },
                   .fast_vjp =
                       [in, &fast](const Tensor& g, Needs) {
                         ++fast;
                         return Tensors{g * 2.0 * in.detach()};
                       }});
  };
  square(x).backward();
  BOOST_TEST(fast == 1);
  BOOST_TEST(slow == 0);
  const Tensor first = grad({square(x)}, {x}, {.create_graph = true})[0];
  BOOST_TEST(slow == 1);
  BOOST_TEST(grad({first}, {x})[0].item<double>() == 2.0);
}

BOOST_AUTO_TEST_CASE(an_operation_with_a_fast_rule_only_cannot_be_derived_twice) {
  const Tensor x = leaf({2.0});
  const Tensor y = record(
      {.name = "once", .inputs = {x}, .value = x.detach() * 2.0, .fast_vjp = [](const Tensor& g, Needs) {
         return Tensors{g * 2.0};
       }});
  BOOST_TEST(thrown_text<GraphError>([&] { grad({y}, {x}, {.create_graph = true}); }).find("once") !=
             std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_fused_operation_by_reference_with_one_tensor_in_both_places) {
  const Tensor x = leaf({3.0});
  product(x, x).backward();
  BOOST_TEST(x.grad().item<double>() == 6.0);
  const Tensor first = grad({product(x, x)}, {x}, {.create_graph = true})[0];
  BOOST_TEST(first.item<double>() == 6.0);
  const Tensor second = grad({first}, {x}, {.create_graph = true})[0];
  BOOST_TEST(second.item<double>() == 2.0);
  const Tensor y = x * 2.0;  // the same for a result
  BOOST_TEST(grad({product(y, y)}, {x})[0].item<double>() == 24.0);
}

BOOST_AUTO_TEST_CASE(by_reference_with_a_frozen_side_and_under_no_grad) {
  const Tensor x = leaf({3.0}), frozen = tensor({5.0});
  const Tensor y = product(frozen, x);
  no_grad([&] { y.backward(); });  // the twin is recorded all the same
  BOOST_TEST(x.grad().item<double>() == 5.0);
  const auto f = [](const Tensors& in) { return product(in[0], in[1]); };
  const Tensors inputs{leaf({1.0, -2.0}), leaf({0.5, 4.0})};
  BOOST_TEST(bool(gradcheck(f, inputs)));
  BOOST_TEST(bool(gradgradcheck(f, inputs)));
}

BOOST_AUTO_TEST_CASE(an_operation_of_many_inputs) {
  Tensors inputs;
  for (int i = 0; i < 100; ++i) inputs.push_back(leaf({1.0 * i}));
  Tensor total = zeros({1}, DType::float64);
  for (const Tensor& input : inputs) total = total + input.detach();
  const Tensor y =
      record({.name = "total", .inputs = inputs, .value = total, .vjp = [](const Tensor& g, Needs) {
                return Tensors(100, g);
              }});
  y.backward();
  BOOST_TEST(inputs[0].grad().item<double>() == 1.0);
  BOOST_TEST(inputs[99].grad().item<double>() == 1.0);
  const Tensor first = inputs[0].grad();
  first.mutable_data<double>()[0] = 7;  // one gradient for all, and yet a buffer for each
  BOOST_TEST(inputs[99].grad().item<double>() == 1.0);
}

BOOST_AUTO_TEST_CASE(a_large_capture_is_kept_too) {
  const Tensor x = leaf({2.0});
  const std::array<double, 32> table{1, 2, 3, 4};
  const Tensor y = record(
      {.name = "table", .inputs = {x}, .value = x.detach() * 10.0, .vjp = [table](const Tensor& g, Needs) {
         return g * (table[0] + table[1] + table[2] + table[3]);
       }});
  y.backward();
  BOOST_TEST(x.grad().item<double>() == 10.0);
}

BOOST_AUTO_TEST_CASE(a_value_that_is_an_input_itself_gets_a_place_of_its_own) {
  const Tensor x = leaf({2.0});
  const Tensor y =
      record({.name = "same", .inputs = {x}, .value = x.detach(), .vjp = [](const Tensor& g, Needs) {
                return g * 3.0;
              }});
  BOOST_TEST(x.is_leaf());
  y.backward();
  BOOST_TEST(x.grad().item<double>() == 3.0);
}

BOOST_AUTO_TEST_CASE(an_exception_in_a_rule_passes_through_and_changes_no_gradient) {
  const Tensor x = leaf({2.0});
  const Tensor y = record(
      {.name = "throws", .inputs = {x}, .value = x.detach(), .vjp = [](const Tensor&, Needs) -> Tensors {
         throw ValueError("from the rule");
       }});
  BOOST_TEST(thrown_text<ValueError>([&] { sum(y * 2.0).backward(); }) == "from the rule");
  BOOST_TEST(!x.grad().defined());
  BOOST_TEST(is_grad_enabled());
  (x * x).backward();
  BOOST_TEST(x.grad().item<double>() == 4.0);
}

BOOST_AUTO_TEST_SUITE_END()
