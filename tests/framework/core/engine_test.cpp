// The engine: order, retain_graph, create_graph, versions, ownership of gradients, no_grad, errors.
#include <pthread.h>
#include <boost/test/unit_test.hpp>

#include <functional>
#include <string>

#include "retort/retort.hpp"
#include "tests_support.hpp"

using namespace retort;
using retort::tests::thrown_text;

namespace {

Tensor leaf(const std::vector<double>& values) { return tensor(values).set_requires_grad(); }

/// Runs f on a thread whose stack is too small for deep recursion.
void on_a_small_stack(std::function<void()> f) {
  pthread_attr_t attributes;
  BOOST_REQUIRE_EQUAL(pthread_attr_init(&attributes), 0);
  BOOST_REQUIRE_EQUAL(pthread_attr_setstacksize(&attributes, 256 * 1024), 0);
  pthread_t thread;
  const auto entry = [](void* argument) -> void* {
    (*static_cast<std::function<void()>*>(argument))();
    return nullptr;
  };
  BOOST_REQUIRE_EQUAL(pthread_create(&thread, &attributes, entry, &f), 0);
  BOOST_REQUIRE_EQUAL(pthread_join(thread, nullptr), 0);
  pthread_attr_destroy(&attributes);
}

Tensor chain(const Tensor& start, std::int64_t length) {
  Tensor y = start;
  for (std::int64_t i = 0; i < length; ++i) y = -y;
  return y;
}

void overwrite_first(const Tensor& tensor, double value) { tensor.mutable_data<double>()[0] = value; }

}  // namespace

BOOST_AUTO_TEST_SUITE(engine)

BOOST_AUTO_TEST_CASE(a_chain_of_a_million_operations_goes_forward_backward_and_away) {
  double gradient = 0;
  std::int64_t recorded = 0, left = -1;
  on_a_small_stack([&] {
    const std::int64_t before = live_nodes();
    {
      const Tensor x = leaf({2.0});
      Tensor y = chain(x, 1'000'000);
      recorded = live_nodes() - before;
      y.backward();
      gradient = x.grad().item<double>();
    }
    left = live_nodes() - before;
  });
  BOOST_TEST(recorded == 1'000'001);
  BOOST_TEST(gradient == 1.0);
  BOOST_TEST(left == 0);
}

BOOST_AUTO_TEST_CASE(a_long_chain_that_is_never_walked_is_released_without_recursion) {
  std::int64_t left = -1;
  on_a_small_stack([&] {
    const std::int64_t before = live_nodes();
    { const Tensor y = chain(leaf({2.0}), 1'000'000); }
    left = live_nodes() - before;
  });
  BOOST_TEST(left == 0);
}

BOOST_AUTO_TEST_CASE(the_graph_of_derivatives_of_a_long_chain_is_walked_and_released_without_recursion) {
  double second = 0;
  std::int64_t left = -1;
  on_a_small_stack([&] {
    const std::int64_t before = live_nodes();
    {
      const Tensor x = leaf({3.0});
      const Tensor y = chain(x * x, 100'000);
      const Tensor dx = grad({y}, {x}, {.create_graph = true})[0];
      second = grad({dx}, {x})[0].item<double>();
    }
    left = live_nodes() - before;
  });
  BOOST_TEST(second == 2.0);
  BOOST_TEST(left == 0);
}

BOOST_AUTO_TEST_CASE(a_value_used_in_many_places_gathers_every_share) {
  const Tensor x = leaf({2.0, 3.0});
  const Tensor y = x * x + x;
  sum(y * x + y).backward();  // x³ + 2x² + x
  const std::vector<double> expected{3 * 4.0 + 4 * 2.0 + 1, 3 * 9.0 + 4 * 3.0 + 1};
  BOOST_TEST(x.grad().values<double>() == expected, boost::test_tools::per_element());
}

// Several operations take parts of x in a loop. Each rule adds only its own part to the gradient of x. The
// gradient stays correct if other operations contribute, if a tensor is used twice, and if the backward pass
// is recorded.
BOOST_AUTO_TEST_CASE(parts_of_a_tensor_add_to_one_gradient) {
  const Tensor x = reshape(tensor({1.0, 2.0, 3.0, 4.0, 5.0, 6.0}), {2, 3}).detach().set_requires_grad();
  const auto f = [&](const Tensor& v) {
    const Tensor y = v + 0.0;
    const Tensor picks = tensor({0, 1, 1});
    Tensor loss = sum(y);
    for (std::int64_t i = 0; i < 3; ++i) {
      const Tensor column = select(y, 1, i);
      loss = loss + sum(column * column) + sum(slice(y, 1, 0, 3, 2) * slice(y, 1, 0, 2)) * 0.5;
      loss = loss + sum(embedding(picks, y, {.padding_idx = 0}) * embedding(picks, y));
      loss = loss + sum(gather(y, 1, reshape(tensor({0, 0, 2, 1, 1, 1}), {2, 3})) * y) +
             sum(index_select(y, 1, picks));
    }
    return loss + sum(y * y);
  };
  const Tensors recorded = grad({f(x)}, {x}, {.create_graph = true});
  const Tensors plain = grad({f(x)}, {x});
  for (std::size_t i = 0; i < 6; ++i)
    BOOST_TEST(plain[0].values<double>()[i] == recorded[0].values<double>()[i],
               boost::test_tools::tolerance(1e-14));
  // A gradient that is referenced elsewhere is not modified.
  const Tensor given = ones({2, 3}, DType::float64);
  const Tensor y = x + 0.0;
  const Tensors gradients =
      grad({y, select(y, 0, 0), select(y, 0, 1)}, {y, x},
           {.grad_outputs = {given, ones({3}, DType::float64), ones({3}, DType::float64)}});
  BOOST_TEST(given.values<double>() == std::vector<double>(6, 1.0), boost::test_tools::per_element());
  for (const Tensor& gradient : gradients)
    BOOST_TEST(gradient.values<double>() == std::vector<double>(6, 2.0), boost::test_tools::per_element());
}

// The padding row is constant to every order: its gradient is dropped in the second-order rule as well.
BOOST_AUTO_TEST_CASE(a_padding_row_has_no_gradient_of_any_order) {
  for (const std::int64_t padding : {0, -2}) {
    const Tensor w = reshape(tensor({1.0, 2.0}), {2, 1}).detach().set_requires_grad();
    const Tensor y = embedding(tensor({0, 1}), w, {.padding_idx = padding});
    const Tensor first = grad({sum(y * y * w)}, {w}, {.create_graph = true})[0];
    // y² flows into w directly; 3·w² in the row that is picked, w² in the padding row.
    BOOST_TEST(first.values<double>() == (std::vector<double>{1, 12}), boost::test_tools::per_element());
    const Tensor second = grad({sum(first)}, {w}, {.create_graph = true})[0];
    BOOST_TEST(second.values<double>() == (std::vector<double>{0, 12}), boost::test_tools::per_element());
    const Tensor third = grad({sum(second)}, {w})[0];
    BOOST_TEST(third.values<double>() == (std::vector<double>{0, 6}), boost::test_tools::per_element());
  }
}

// If the gradient of each part were as large as x, the cost would be quadratic in the number of parts.
BOOST_AUTO_TEST_CASE(backward_of_parts_in_a_loop_is_linear) {
  const auto seconds_of_parts = [](std::int64_t steps) {
    const Tensor x = ones({steps, 512}).set_requires_grad();
    Tensor loss = sum(x);
    for (std::int64_t t = 0; t < steps; ++t) loss = loss + sum(select(x, 0, t)) + sum(slice(x, 0, t, t + 1));
    for (const Tensor& part : unbind(x)) loss = loss + sum(part);
    const double seconds = tests::seconds_of([&] { loss.backward(); });
    BOOST_TEST(x.grad().values<float>() == std::vector<float>(static_cast<std::size_t>(steps) * 512, 4.0f),
               boost::test_tools::per_element());
    return seconds;
  };
  const double few = seconds_of_parts(512);
  BOOST_TEST(seconds_of_parts(8 * 512) < 32 * few);
}

BOOST_AUTO_TEST_CASE(backward_adds_to_what_is_there_and_zero_grad_makes_it_undefined) {
  const Tensor x = leaf({2.0});
  BOOST_TEST(!x.grad().defined());
  (x * 3.0).backward();
  (x * 4.0).backward();
  BOOST_TEST(x.grad().item<double>() == 7.0);
  x.zero_grad();
  BOOST_TEST(!x.grad().defined());
}

BOOST_AUTO_TEST_CASE(a_retained_graph_can_be_walked_again_and_a_spent_one_cannot) {
  const Tensor x = leaf({3.0});
  const Tensor y = x * x;
  y.backward({}, {.retain_graph = true});
  y.backward();
  BOOST_TEST(x.grad().item<double>() == 12.0);
  const std::string text = thrown_text<GraphError>([&] { y.backward(); });
  BOOST_TEST(text.find("retain_graph") != std::string::npos);
  BOOST_TEST(text.find("mul") != std::string::npos);
  BOOST_TEST(x.grad().item<double>() == 12.0);
  BOOST_CHECK_THROW(grad({y}, {x}), GraphError);
}

BOOST_AUTO_TEST_CASE(grad_spends_the_graph_as_backward_does_and_writes_no_grad) {
  const Tensor x = leaf({3.0});
  const Tensor y = x * x;
  BOOST_TEST(grad({y}, {x}, {.retain_graph = true})[0].item<double>() == 6.0);
  BOOST_TEST(grad({y}, {x})[0].item<double>() == 6.0);
  BOOST_CHECK_THROW(y.backward(), GraphError);
  BOOST_TEST(!x.grad().defined());
}

BOOST_AUTO_TEST_CASE(create_graph_gives_derivatives_of_any_order) {
  const Tensor x = leaf({2.0});
  Tensor derivative = x * x * x * x;
  const double expected[] = {32, 48, 48, 24};
  for (const double value : expected) {
    derivative = grad({derivative}, {x}, {.create_graph = true})[0];
    BOOST_TEST(derivative.item<double>() == value);
  }
  BOOST_TEST(!grad({x * x}, {x})[0].requires_grad());
}

BOOST_AUTO_TEST_CASE(backward_with_create_graph_leaves_a_grad_that_can_be_derived) {
  const Tensor x = leaf({2.0});
  (x * x * x).backward({}, {.create_graph = true});
  const Tensor first = x.grad();
  BOOST_TEST(first.item<double>() == 12.0);
  BOOST_TEST(grad({first}, {x})[0].item<double>() == 12.0);
  x.zero_grad();  // the gradient's history leads to x, which holds the gradient: this ends the cycle
}

BOOST_AUTO_TEST_CASE(values_changed_between_forward_and_backward_are_an_error_that_names_the_operation) {
  const Tensor a = leaf({2.0}), b = leaf({3.0});
  const Tensor product = a * b;
  b.mutable_data<double>()[0] = 30;
  const std::string text = thrown_text<GraphError>([&] { product.backward(); });
  BOOST_TEST(text.find("'mul'") != std::string::npos);
  BOOST_TEST(!a.grad().defined());
  BOOST_TEST(!b.grad().defined());
}

BOOST_AUTO_TEST_CASE(a_changed_value_that_no_rule_needs_is_no_error) {
  const Tensor a = leaf({2.0}), b = leaf({3.0});
  const Tensor total = a + b;
  b.mutable_data<double>()[0] = 30;
  total.backward();
  BOOST_TEST(a.grad().item<double>() == 1.0);
  const Tensor c = leaf({5.0});
  c.mutable_data<double>()[0] = 7;  // before the operation
  (c * c).backward();
  BOOST_TEST(c.grad().item<double>() == 14.0);
}

BOOST_AUTO_TEST_CASE(a_changed_result_that_its_rule_needs_is_an_error) {
  const Tensor x = leaf({0.5});
  const Tensor y = tanh(x);
  y.mutable_data<double>()[0] = 0;
  BOOST_CHECK_THROW(y.backward(), GraphError);
  const Tensor fused = leaf({0.5, 0.25}), target = tensor({0.5, 0.5});
  const Tensor loss = kl_div(fused, target, {.reduction = Reduction::sum});
  target.mutable_data<double>()[0] = 1;
  BOOST_CHECK_THROW(loss.backward(), GraphError);
}

BOOST_AUTO_TEST_CASE(gradients_share_no_buffer_with_anything) {
  const Tensor a = leaf({1.0, 2.0}), b = leaf({3.0, 4.0});
  sum(a + b).backward();
  overwrite_first(a.grad(), 100);
  BOOST_TEST(b.grad().values<double>()[0] == 1.0);

  const Tensor c = leaf({1.0, 2.0}), upstream = tensor({5.0, 6.0});
  (c + 0.0).backward(upstream);
  overwrite_first(c.grad(), 100);
  BOOST_TEST(upstream.data<double>()[0] == 5.0);
  c.zero_grad();
  reshape(c, {2, 1}).backward(reshape(upstream, {2, 1}));
  overwrite_first(c.grad(), 100);
  BOOST_TEST(upstream.data<double>()[0] == 5.0);

  const Tensor d = leaf({1.0, 2.0}), e = leaf({1.0, 2.0});
  sum(d + e + (d + e)).backward();
  clip_grad_value({d}, 0.5);
  BOOST_TEST(d.grad().values<double>()[0] == 0.5);
  BOOST_TEST(e.grad().values<double>()[0] == 2.0);
}

BOOST_AUTO_TEST_CASE(gradients_that_grad_returns_twice_do_not_share_with_later_ones) {
  const Tensor x = leaf({1.0, 2.0}), upstream = tensor({5.0, 6.0});
  const Tensor y = x + 1.0;
  const Tensors both = grad({y}, {x, y}, {.grad_outputs = {upstream}, .retain_graph = true});
  const Tensors again = grad({y + y}, {x}, {.grad_outputs = {upstream}});
  BOOST_TEST(both[0].values<double>() == upstream.values<double>(), boost::test_tools::per_element());
  BOOST_TEST(again[0].data<double>()[1] == 12.0);
  BOOST_TEST(upstream.data<double>()[1] == 6.0);
}

BOOST_AUTO_TEST_CASE(grad_of_a_tensor_that_is_no_leaf) {
  const Tensor x = leaf({2.0});
  const Tensor y = x * x;
  const Tensors both = grad({y * y * 3.0}, {y, x});
  BOOST_TEST(both[0].item<double>() == 24.0);
  BOOST_TEST(both[1].item<double>() == 96.0);
  const Tensor z = x * 5.0;
  BOOST_TEST(grad({z}, {z})[0].item<double>() == 1.0);
}

BOOST_AUTO_TEST_CASE(an_unused_input_is_undefined_where_allowed_and_else_named_by_position) {
  const Tensor x = leaf({2.0}), unused = leaf({3.0});
  const Tensors both = grad({x * x}, {x, unused}, {.allow_unused = true});
  BOOST_TEST(both[0].item<double>() == 4.0);
  BOOST_TEST(!both[1].defined());
  const std::string text = thrown_text<GraphError>([&] { grad({x * x}, {x, unused}); });
  BOOST_TEST(text.find("input 1") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(grad_outputs_that_require_a_gradient_take_part_under_create_graph) {
  const Tensor x = leaf({2.0, 3.0}), v = leaf({5.0, 7.0});
  const Tensor y = x * x;
  const Tensor g = grad({y}, {x}, {.grad_outputs = {v}, .create_graph = true})[0];  // 2xv
  const Tensors second = grad({sum(g * g)}, {x, v});                                // 8xv², 8x²v
  BOOST_TEST(second[0].data<double>()[0] == 8 * 2 * 25.0);
  BOOST_TEST(second[0].data<double>()[1] == 8 * 3 * 49.0);
  BOOST_TEST(second[1].data<double>()[0] == 8 * 4 * 5.0);
  BOOST_TEST(second[1].data<double>()[1] == 8 * 9 * 7.0);
}

BOOST_AUTO_TEST_CASE(several_outputs_and_a_missing_grad_output_for_one_element) {
  const Tensor x = leaf({2.0, 3.0});
  const Tensors outputs{sum(x * x), x * 4.0};
  const Tensors result = grad(outputs, {x}, {.grad_outputs = {Tensor(), tensor({1.0, 10.0})}});
  BOOST_TEST(result[0].data<double>()[0] == 8.0);
  BOOST_TEST(result[0].data<double>()[1] == 46.0);
}

BOOST_AUTO_TEST_CASE(what_backward_refuses) {
  const Tensor x = leaf({2.0, 3.0});
  BOOST_CHECK_THROW(tensor({1.0}).backward(), GraphError);
  BOOST_CHECK_THROW(grad({tensor({1.0})}, {x}), GraphError);
  BOOST_CHECK_THROW(Tensor().backward(), Error);
  BOOST_CHECK_THROW((x * x).backward(), Error);  // two elements and no gradient given
  const std::string text = thrown_text<ShapeError>([&] { (x * x).backward(ones({3}, DType::float64)); });
  BOOST_TEST(text.find("(3)") != std::string::npos);
  BOOST_TEST(text.find("(2)") != std::string::npos);
  BOOST_CHECK_THROW(grad({sum(x)}, {x}, {.grad_outputs = {Tensor(), Tensor()}}), Error);
  BOOST_TEST(!x.grad().defined());
}

BOOST_AUTO_TEST_CASE(no_grad_returns_what_f_returns_and_it_is_a_leaf) {
  const Tensor x = leaf({2.0});
  const Tensor y = no_grad([&] { return x * x; });
  BOOST_TEST(y.is_leaf());
  BOOST_TEST(!y.requires_grad());
  BOOST_TEST(no_grad([] { return 42; }) == 42);
  BOOST_TEST(is_grad_enabled());
  {
    const NoGradGuard outer;
    no_grad([] {});
    BOOST_TEST(!is_grad_enabled());
    BOOST_TEST((x * x).is_leaf());
  }
  BOOST_CHECK_THROW(no_grad([]() -> int { throw ValueError("out"); }), ValueError);
  BOOST_TEST(is_grad_enabled());
  BOOST_TEST((x * x).requires_grad());
}

BOOST_AUTO_TEST_CASE(frozen_leaves_get_nothing_and_detach_cuts) {
  const Tensor x = leaf({2.0}), frozen = tensor({3.0});
  (x * frozen).backward();
  BOOST_TEST(!frozen.grad().defined());
  const Tensor cut = (x * x).detach();
  BOOST_TEST(cut.is_leaf());
  BOOST_TEST(!cut.requires_grad());
  x.zero_grad();
  (cut * x).backward();
  BOOST_TEST(x.grad().item<double>() == 4.0);
  x.set_requires_grad(false);
  BOOST_TEST(!(x * x).requires_grad());
}

BOOST_AUTO_TEST_CASE(int64_has_no_gradient) {
  BOOST_CHECK_THROW(tensor({1, 2}).set_requires_grad(), TypeError);
  const Tensor x = leaf({2.5});
  const Tensor whole = x.to(DType::int64);
  BOOST_TEST(whole.item<std::int64_t>() == 2);
  BOOST_TEST(!whole.requires_grad());
  BOOST_TEST(!greater(x, 1.0).requires_grad());
}

BOOST_AUTO_TEST_CASE(the_conversion_between_float_types_carries_the_gradient_back) {
  const Tensor x = tensor({1.5f, 2.5f}).set_requires_grad();
  sum(x.to(DType::float64) * tensor({2.0, 3.0})).backward();
  BOOST_TEST((x.grad().dtype() == DType::float32));
  BOOST_TEST(x.grad().values<float>()[1] == 3.0f);
}

BOOST_AUTO_TEST_CASE(requires_grad_cannot_be_set_on_a_result) {
  const Tensor x = leaf({2.0});
  const Tensor y = x * x;
  BOOST_CHECK_THROW(y.set_requires_grad(false), GraphError);
  BOOST_TEST(!y.is_leaf());
  BOOST_TEST(!y.grad().defined());
}

BOOST_AUTO_TEST_CASE(copies_of_a_handle_share_the_gradient) {
  const Tensor x = leaf({2.0});
  const Tensor other = x;
  (other * 3.0).backward();
  BOOST_TEST(x.grad().item<double>() == 3.0);
  other.zero_grad();
  BOOST_TEST(!x.grad().defined());
}

BOOST_AUTO_TEST_SUITE_END()
