#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "retort/framework/base/random.hpp"
#include "retort/framework/core/gradcheck.hpp"
#include "retort/framework/nn/activation.hpp"
#include "retort/framework/nn/dropout.hpp"
#include "retort/framework/nn/embedding.hpp"
#include "retort/framework/nn/flatten.hpp"
#include "retort/framework/nn/linear.hpp"
#include "retort/framework/nn/sequential.hpp"
#include "retort/framework/ops/elementwise.hpp"
#include "retort/framework/ops/reduction.hpp"
#include "retort/framework/ops/softmax.hpp"

namespace rt = retort;

namespace {

/// Gradients of a module's output for its input and every parameter, by central differences.
template <class M>
void check_gradients(M& module, const rt::Tensor& x) {
  module.to(rt::DType::float64);
  rt::Tensors inputs = module.parameters();
  inputs.push_back(x.detach().to(rt::DType::float64).clone().set_requires_grad());
  const auto f = [&](const rt::Tensors& in) { return module(in.back()); };
  const auto first = rt::gradcheck(f, inputs);
  BOOST_TEST(bool(first), first);
  const auto second = rt::gradgradcheck(f, inputs);
  BOOST_TEST(bool(second), second);
}

class AddOne : public rt::Module {
 public:
  rt::Tensor operator()(const rt::Tensor& x) {  // not const, as users write it
    ++calls;
    return x + 1.0;
  }
  int calls = 0;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(layers)

BOOST_AUTO_TEST_CASE(linear_computes_its_formula) {
  rt::Linear layer(2, 3);
  layer.load_state_dict(
      {{"weight", rt::tensor({1., 2., 3., 4., 5., 6.}, {3, 2})}, {"bias", rt::tensor({.5, 0., -1.})}});
  const rt::Tensor y = layer(rt::tensor({1.F, -1.F}, {1, 2}));
  BOOST_TEST((y.shape() == rt::Shape{1, 3}));
  BOOST_TEST(y.values<double>() == (std::vector<double>{-0.5, -1, -2}), boost::test_tools::per_element());
  BOOST_CHECK_THROW(layer(rt::ones({1, 3})), rt::ShapeError);
}

BOOST_AUTO_TEST_CASE(linear_starts_as_in_pytorch) {
  rt::manual_seed(7);
  const rt::Linear layer(100, 50);
  const double bound = 0.1;
  for (const rt::Tensor& each : layer.parameters()) {
    BOOST_TEST(each.requires_grad());
    const std::vector<double> values = each.values<double>();
    const auto [low, high] = std::ranges::minmax(values);
    BOOST_TEST(low >= -bound - 1e-8);
    BOOST_TEST(high < bound + 1e-8);
    BOOST_TEST(high - low > 1.5 * bound);  // spread over the whole interval
  }
  rt::manual_seed(7);
  const rt::Linear again(100, 50);
  BOOST_TEST(again.weight.values<float>() == layer.weight.values<float>(), boost::test_tools::per_element());
  BOOST_TEST(again.bias.values<float>() == layer.bias.values<float>(), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(linear_at_its_edges) {
  rt::Linear layer(3, 2, {.bias = false});
  BOOST_TEST(!layer.bias.defined());
  BOOST_TEST(layer.named_parameters().size() == 1U);
  BOOST_TEST(layer(rt::ones({4, 3})).size(1) == 2);
  BOOST_CHECK_THROW(rt::Linear(-1, 2), rt::ValueError);
  BOOST_CHECK_THROW(rt::Linear(1, -2), rt::ValueError);
  rt::Linear empty(0, 2);
  BOOST_TEST(empty.bias.values<double>() == (std::vector<double>{0, 0}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(modules_do_what_the_functions_do) {
  const rt::Tensor x = rt::randn({3, 4});
  const auto same = [](const rt::Tensor& a, const rt::Tensor& b) {
    BOOST_TEST(a.values<float>() == b.values<float>(), boost::test_tools::per_element());
  };
  same(rt::ReLU()(x), rt::relu(x));
  same(rt::Tanh()(x), rt::tanh(x));
  same(rt::Sigmoid()(x), rt::sigmoid(x));
  same(rt::SiLU()(x), rt::silu(x));
  same(rt::GELU()(x), rt::gelu(x));
  same(rt::GELU(rt::GeluApproximation::tanh)(x), rt::gelu(x, rt::GeluApproximation::tanh));
  same(rt::Softmax(1)(x), rt::softmax(x, 1));
  same(rt::Softmax(0)(x), rt::softmax(x, 0));
  same(rt::LogSoftmax(-1)(x), rt::log_softmax(x, 1));
  BOOST_TEST((rt::Flatten()(rt::ones({2, 3, 4})).shape() == rt::Shape{2, 12}));
  BOOST_TEST((rt::Flatten(0, 1)(rt::ones({2, 3, 4})).shape() == rt::Shape{6, 4}));
}

BOOST_AUTO_TEST_CASE(dropout_follows_the_mode) {
  rt::manual_seed(1);
  rt::Dropout layer(0.25);
  const rt::Tensor x = rt::ones({10000});
  const std::vector<double> y = layer(x).values<double>();
  const auto zeros = std::ranges::count(y, 0.0);
  BOOST_TEST(zeros > 2300);
  BOOST_TEST(zeros < 2700);
  BOOST_TEST(*std::ranges::max_element(y) == 1 / 0.75, boost::test_tools::tolerance(1e-6));
  layer.eval();
  BOOST_TEST(layer(x).values<double>() == x.values<double>(), boost::test_tools::per_element());
  BOOST_CHECK_THROW(rt::Dropout(-0.1), rt::ValueError);
  BOOST_CHECK_THROW(rt::Dropout(1.1), rt::ValueError);
  BOOST_CHECK_THROW(rt::Dropout(std::nan("")), rt::ValueError);
}

// The row at padding_idx gets no gradient of any order, although the result contains its values.
BOOST_AUTO_TEST_CASE(embedding_has_a_second_order_without_the_padding_row) {
  const rt::Tensor w = rt::tensor({1.0, 2.0}, {2, 1}).set_requires_grad();
  const rt::Tensor y = rt::embedding(rt::tensor({0, 1}), w, {.padding_idx = 0});
  const rt::Tensor g = rt::grad({rt::sum(y * y * w)}, {w}, {.create_graph = true})[0];
  const std::vector<double> expected{0, 12};
  BOOST_TEST(rt::grad({rt::sum(g)}, {w})[0].values<double>() == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(embedding_picks_rows) {
  rt::Embedding layer(4, 3, {.padding_idx = -2});
  const std::vector<float> weight = layer.weight.values<float>();
  for (std::size_t i = 0; i < 3; ++i) BOOST_TEST(weight[2 * 3 + i] == 0.0F);
  BOOST_TEST(weight[0] != 0.0F);
  const rt::Tensor y = layer(rt::tensor({3, 2, 3}, {1, 3}));
  BOOST_TEST((y.shape() == rt::Shape{1, 3, 3}));
  BOOST_TEST(y.data<float>()[8] == weight[11]);
  rt::sum(y).backward();
  const std::vector<double> expected{0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2};
  BOOST_TEST(layer.weight.grad().values<double>() == expected, boost::test_tools::per_element());
  BOOST_CHECK_THROW(layer(rt::tensor({4})), rt::IndexError);
  BOOST_CHECK_THROW(rt::Embedding(-1, 3), rt::ValueError);
  BOOST_CHECK_THROW(rt::Embedding(4, 3, {.padding_idx = 4}), rt::IndexError);
}

BOOST_AUTO_TEST_CASE(sequential_chains_any_modules) {
  rt::Sequential net(rt::Linear(4, 3), rt::ReLU(), AddOne(),
                     rt::Sequential{rt::Dropout(0.5), rt::Linear(3, 2)});
  BOOST_TEST(net.size() == 4U);
  const auto named = net.named_parameters();
  const std::vector<std::string> expected{"0.weight", "0.bias", "3.1.weight", "3.1.bias"};
  BOOST_TEST_REQUIRE(named.size() == expected.size());
  for (std::size_t i = 0; i < named.size(); ++i) BOOST_TEST(named[i].first == expected[i]);

  net.eval();
  BOOST_TEST(!net[2].is_training());
  const rt::Tensor x = rt::randn({5, 4});
  auto& first = dynamic_cast<rt::Linear&>(net[0]);
  auto& last = dynamic_cast<rt::Linear&>(dynamic_cast<rt::Sequential&>(net[3])[1]);
  const rt::Tensor by_hand = last(rt::relu(first(x)) + 1.0);
  BOOST_TEST(net(x).values<float>() == by_hand.values<float>(), boost::test_tools::per_element());
  BOOST_TEST(dynamic_cast<AddOne&>(net[2]).calls == 1);
  BOOST_CHECK_THROW(net[4], rt::IndexError);

  rt::Sequential moved = std::move(net);
  moved.append(rt::LogSoftmax(1));
  BOOST_TEST(moved.size() == 5U);
  BOOST_TEST(moved(x).shape() == (rt::Shape{5, 2}));
  BOOST_TEST(retort::detail::Access::same(moved.named_parameters()[0].second, first.weight));
  BOOST_TEST(retort::detail::Access::same(rt::Sequential()(x), x));
}

BOOST_AUTO_TEST_CASE(sequential_weights_travel_by_state_dict) {
  const rt::Sequential a(rt::Linear(2, 3), rt::Tanh(), rt::Linear(3, 1));
  rt::Sequential b(rt::Linear(2, 3), rt::Tanh(), rt::Linear(3, 1));
  b.load_state_dict(a.state_dict());
  const rt::Tensor x = rt::randn({4, 2});
  BOOST_TEST(a(x).values<float>() == b(x).values<float>(), boost::test_tools::per_element());
  rt::Sequential other(rt::Linear(2, 3), rt::Linear(3, 1));
  BOOST_CHECK_THROW(other.load_state_dict(a.state_dict()), rt::ValueError);
}

BOOST_AUTO_TEST_CASE(gradients_of_modules_by_differences) {
  rt::manual_seed(3);
  rt::Sequential net(rt::Linear(3, 4), rt::Tanh(), rt::Linear(4, 4, {.bias = false}), rt::GELU(),
                     rt::Linear(4, 2), rt::LogSoftmax(1));
  check_gradients(net, rt::randn({3, 3}));
  rt::Sequential smooth(rt::SiLU(), rt::Flatten(), rt::Sigmoid(), rt::Softmax(-1));
  check_gradients(smooth, rt::randn({2, 2, 3}));
}

BOOST_AUTO_TEST_SUITE_END()
