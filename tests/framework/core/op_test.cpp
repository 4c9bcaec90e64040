// record(): the results that a user's operation may return, and those that are refused.
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
  const auto reference = [](const Tensors& in) { return in[0] * in[1]; };
  return record({.name = "product",
                 .inputs = {a, b},
                 .value = a.detach() * b.detach(),
                 .vjp = vjp_by_reference(reference, {a, b})});
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

BOOST_AUTO_TEST_CASE(a_rule_that_gives_an_int64_gradient_is_named) {
  const Tensor x = leaf({2.0, 3.0});
  const auto counting = [](const Tensor& in) {
    return record(
        {.name = "counting", .inputs = {in}, .value = in.detach() * 2.0, .vjp = [](const Tensor&, Needs) {
           return tensor({1, 1});
         }});
  };
  const std::string text = thrown_text<TypeError>([&] { sum(counting(x)).backward(); });
  BOOST_TEST(text.find("counting") != std::string::npos);
  BOOST_TEST(text.find("int64") != std::string::npos);
  BOOST_CHECK_THROW((void)grad({sum(counting(x))}, {x}, {.create_graph = true}), TypeError);
  BOOST_TEST(!x.grad().defined());
}

BOOST_AUTO_TEST_CASE(a_large_rule_and_a_rule_that_cannot_be_copied_are_kept) {
  struct Large {
    explicit Large(double factor) : factors(200, factor) {}
    Large(Large&&) = default;
    Large(const Large&) = delete;
    Tensor operator()(const Tensor& g, Needs) const { return g * factors[199]; }
    std::vector<double> factors;
    std::array<double, 100> more{};
  };
  const Tensor x = leaf({2.0});
  record({.name = "large", .inputs = {x}, .value = x.detach() * 3.0, .vjp = Large(3)}).backward();
  BOOST_TEST(x.grad().item<double>() == 3.0);
}

BOOST_AUTO_TEST_CASE(an_undefined_value_is_refused_by_name) {
  const std::string text = thrown_text<ValueError>([] { record({.name = "empty_handed", .inputs = {}}); });
  BOOST_TEST(text.find("empty_handed") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(the_errors_of_compute_name_it_and_the_argument) {
  const Tensor x = tensor({1.f}), y = tensor({1.0});
  const auto kernel = [](auto* out, const auto* a, const auto* b) { *out = *a + *b; };
  std::string text = thrown_text<TypeError>([&] { (void)compute({1}, DType::float32, kernel, x, y); });
  BOOST_TEST(text.find("compute: ") == 0);
  BOOST_TEST(text.find("argument 2 is float64") != std::string::npos);
  text = thrown_text<TypeError>([&] { (void)compute({1}, DType::int64, kernel, x, x); });
  BOOST_TEST(text.find("compute: ") == 0);
  text = thrown_text<TypeError>([&] { compute_into(DType::float64, kernel, writable(x), y, y); });
  BOOST_TEST(text.find("compute_into: ") == 0);
}

BOOST_AUTO_TEST_CASE(grad_mode_is_set_for_a_scope_and_restored) {
  BOOST_TEST(is_grad_enabled());
  {
    const NoGradGuard off;
    BOOST_TEST(!is_grad_enabled());
    {
      const GradMode on(true);
      BOOST_TEST(is_grad_enabled());
    }
    BOOST_TEST(!is_grad_enabled());
  }
  BOOST_TEST(is_grad_enabled());
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
  no_grad([&] { y.backward(); });  // the reference is recorded all the same
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

BOOST_AUTO_TEST_SUITE(record_op_with_several_results)

namespace {

/// (x·y, x + y) as one operation; counts how often a rule runs.
Tensors product_and_sum(const Tensor& x, const Tensor& y, int* calls = nullptr, bool fast = false) {
  const auto rule = [x, y, calls](const Tensors& gs, Needs needs) {
    if (calls) ++*calls;
    Tensors gradients(2);
    for (std::size_t i = 0; i < 2; ++i) {
      if (!needs[i]) continue;
      if (gs[0].defined()) gradients[i] = gs[0] * (i == 0 ? y : x);
      if (gs[1].defined()) gradients[i] = gradients[i].defined() ? gradients[i] + gs[1] : gs[1];
    }
    return gradients;
  };
  ManyOp op{.name = "product_and_sum",
            .inputs = {x, y},
            .values = {x.detach() * y.detach(), x.detach() + y.detach()},
            .vjp = rule};
  if (fast) op.fast_vjp = rule;
  return record_many(std::move(op));
}

}  // namespace

BOOST_AUTO_TEST_CASE(gradients_are_right_to_any_order) {
  for (const bool fast : {false, true}) {
    const auto f = [fast](const Tensors& in) {
      const Tensors r = product_and_sum(in[0], in[1], nullptr, fast);
      return exp(r[0]) * r[1] * r[0];
    };
    const Tensors inputs{leaf({0.5, -0.3}), leaf({0.2, 0.7})};
    BOOST_TEST(bool(gradcheck(f, inputs)));
    BOOST_TEST(bool(gradgradcheck(f, inputs)));
    const auto first = [&](const Tensors& in) {
      const GradMode recording(true);  // the differences are taken with recording off
      return grad({sum(f(in))}, {in[0]}, {.create_graph = true})[0];
    };
    BOOST_TEST(bool(gradgradcheck(first, inputs)));
  }
}

BOOST_AUTO_TEST_CASE(the_rule_runs_once_and_unused_results_are_undefined) {
  int calls = 0;
  const Tensor x = leaf({2.0}), y = leaf({3.0});
  const Tensors r = product_and_sum(x, y, &calls);
  sum(r[0] + r[1] + r[1]).backward();
  BOOST_TEST(calls == 1);
  BOOST_TEST(x.grad().item<double>() == 5.0);
  BOOST_TEST(y.grad().item<double>() == 4.0);
  BOOST_CHECK_THROW(sum(r[0]).backward(), GraphError);  // one graph, and spent

  std::vector<bool> seen;
  const Tensors halves =
      record_many({.name = "halves",
                   .inputs = {x},
                   .values = {x.detach() * 0.5, x.detach() * 0.5, zeros({1}, DType::int64), Tensor()},
                   .vjp = [&seen](const Tensors& gs, Needs) {
                     for (const Tensor& g : gs) seen.push_back(g.defined());
                     return gs[1] * 0.5;
                   }});
  BOOST_TEST(halves[0].requires_grad());
  BOOST_TEST(!halves[2].requires_grad());
  BOOST_TEST(!halves[3].defined());
  x.zero_grad();
  sum(halves[1]).backward();
  BOOST_TEST(x.grad().item<double>() == 0.5);
  BOOST_TEST(seen == (std::vector<bool>{false, true, false, false}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_retained_graph_of_several_results_is_walked_again) {
  const Tensor x = leaf({2.0}), y = leaf({3.0});
  const Tensors r = product_and_sum(x, y);
  sum(r[0]).backward({}, {.retain_graph = true});
  sum(r[1]).backward({}, {.retain_graph = true});
  BOOST_TEST(x.grad().item<double>() == 4.0);
  const Tensors both = grad({r[0], r[1]}, {x, y}, {.grad_outputs = {tensor({10.0}), tensor({1.0})}});
  BOOST_TEST(both[0].item<double>() == 31.0);
  BOOST_TEST(both[1].item<double>() == 21.0);
}

BOOST_AUTO_TEST_CASE(a_result_of_several_may_itself_be_asked_for) {
  const Tensor x = leaf({2.0}), y = leaf({3.0});
  const Tensors r = product_and_sum(x, y);
  BOOST_TEST(!r[0].is_leaf());
  const Tensor z = sum(r[0] * r[0] * r[1]);
  const Tensors parts = grad({z}, {r[0], r[1]}, {.retain_graph = true});
  BOOST_TEST(parts[0].item<double>() == 60.0);
  BOOST_TEST(parts[1].item<double>() == 36.0);
  const Tensors mixed = grad({z}, {r[1], x, r[0]}, {.retain_graph = true});
  BOOST_TEST(mixed[0].item<double>() == 36.0);
  BOOST_TEST(mixed[1].item<double>() == 60.0 * 3 + 36);
  BOOST_TEST(mixed[2].item<double>() == 60.0);
  BOOST_CHECK_THROW(grad({sum(r[0])}, {r[1]}, {.retain_graph = true}), GraphError);
  BOOST_TEST(!grad({sum(r[0])}, {r[1]}, {.allow_unused = true})[0].defined());
}

BOOST_AUTO_TEST_CASE(a_rule_of_several_results_may_ask_for_them) {
  // (exp x, 2x), whose rule needs exp x; right to the third order.
  const auto f = [](const Tensors& in) {
    const Tensors r = record_many({.name = "exp_and_double",
                                   .inputs = {in[0]},
                                   .values = {exp(in[0].detach()), in[0].detach() * 2.0},
                                   .vjp = [](const Tensors& gs, const Tensors& ys, Needs) {
                                     Tensor g = gs[0].defined() ? gs[0] * ys[0] : Tensor();
                                     if (gs[1].defined()) g = g.defined() ? g + gs[1] * 2.0 : gs[1] * 2.0;
                                     return g;
                                   }});
    return r[0] * r[1];
  };
  const Tensors inputs{leaf({0.3, -0.4})};
  BOOST_TEST(bool(gradcheck(f, inputs)));
  BOOST_TEST(bool(gradgradcheck(f, inputs)));
  const auto first = [&](const Tensors& in) {
    const GradMode recording(true);  // the differences are taken with recording off
    return grad({sum(f(in))}, in, {.create_graph = true})[0];
  };
  BOOST_TEST(bool(gradgradcheck(first, inputs)));
}

BOOST_AUTO_TEST_CASE(an_exception_in_the_rule_of_several_results_leaves_nothing_behind) {
  const Tensor x = leaf({2.0});
  bool fails = true;
  const Tensors r = record_many({.name = "failing",
                                 .inputs = {x},
                                 .values = {x.detach() * 1.0, x.detach() * 1.0},
                                 .vjp = [&fails](const Tensors& gs, Needs) {
                                   if (fails) throw std::runtime_error("no");
                                   if (gs[0].defined() && gs[1].defined()) return gs[0] + gs[1];
                                   return gs[0].defined() ? gs[0] : gs[1];
                                 }});
  BOOST_CHECK_THROW(sum(r[0]).backward({}, {.retain_graph = true}), std::runtime_error);
  fails = false;
  sum(r[1]).backward();
  BOOST_TEST(x.grad().item<double>() == 1.0);
}

BOOST_AUTO_TEST_CASE(several_results_without_history_and_what_is_refused) {
  const Tensor x = tensor({2.0}), w = leaf({1.0});
  const Tensors plain = product_and_sum(x, x);
  BOOST_TEST(!plain[0].requires_grad());
  const Tensors off = no_grad([&] { return product_and_sum(w, w); });
  BOOST_TEST(off[1].is_leaf());
  BOOST_TEST(product_and_sum(w, x)[0].detach().is_leaf());
  BOOST_CHECK_THROW(static_cast<void>(record_many({.name = "ruleless", .inputs = {w}, .values = {x, x}})),
                    GraphError);
  const Tensors wrong = record_many({.name = "wrong",
                                     .inputs = {w, x},
                                     .values = {x.clone(), x.clone()},
                                     .vjp = [](const Tensors& gs, Needs) { return Tensors{gs[0]}; }});
  BOOST_CHECK_THROW(sum(wrong[0]).backward(), GraphError);
}

BOOST_AUTO_TEST_CASE(a_graph_of_several_results_is_freed) {
  const std::int64_t before = live_nodes();
  {
    const Tensor x = leaf({2.0}), y = leaf({3.0});
    Tensors r = product_and_sum(x, y);
    for (int i = 0; i < 10; ++i) r = product_and_sum(r[0] * 0.5, r[1] * 0.5);
    sum(r[1]).backward({}, {.create_graph = true});
    x.zero_grad();
    y.zero_grad();
  }
  BOOST_TEST(live_nodes() == before);
}

BOOST_AUTO_TEST_SUITE_END()
