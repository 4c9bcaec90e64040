#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <vector>

#include "retort/framework/base/random.hpp"
#include "retort/framework/core/gradcheck.hpp"
#include "retort/framework/nn/activation.hpp"
#include "retort/framework/nn/conv.hpp"
#include "retort/framework/nn/flatten.hpp"
#include "retort/framework/nn/linear.hpp"
#include "retort/framework/nn/sequential.hpp"

namespace rt = retort;

namespace {

using Values = std::vector<double>;

/// The numbers 1, 2, … as one image.
rt::Tensor image(std::int64_t height, std::int64_t width) {
  rt::Tensor x = rt::empty({1, 1, height, width});
  float next = 1;
  for (float& value : x.mutable_data<float>()) value = next++;
  return x;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(conv_modules)

BOOST_AUTO_TEST_CASE(conv2d_computes_its_formula) {
  rt::Conv2d layer(1, 1, {2, 2});
  layer.load_state_dict(
      {{"weight", rt::tensor({1., 2., 3., 4.}, {1, 1, 2, 2})}, {"bias", rt::tensor({0.5})}});
  // x = 1 2 3 / 4 5 6: 1 + 4 + 12 + 20 and 2 + 6 + 15 + 24, and the bias
  BOOST_TEST(layer(image(2, 3)).values<double>() == (Values{37.5, 47.5}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(conv2d_options_reach_the_operation) {
  rt::manual_seed(5);
  const rt::Conv2d layer(4, 6, {3, 2},
                         {.stride = {2, 1}, .padding = {1, 0}, .dilation = 2, .groups = 2, .bias = false});
  BOOST_TEST((layer.weight.shape() == rt::Shape{6, 2, 3, 2}));
  BOOST_TEST(!layer.bias.defined());
  // height (9 + 2 - 2·2 - 1) / 2 + 1 = 4, width 8 - 2·1 = 6
  BOOST_TEST((layer(rt::randn({2, 4, 9, 8})).shape() == rt::Shape{2, 6, 4, 6}));
  const Values values = layer.weight.values<double>();
  const double bound = 1 / std::sqrt(2.0 * 3 * 2);
  const auto [low, high] = std::ranges::minmax(values);
  BOOST_TEST(low >= -bound - 1e-7);
  BOOST_TEST(high <= bound + 1e-7);
  BOOST_TEST(high - low > bound);
}

BOOST_AUTO_TEST_CASE(conv2d_refuses_bad_sizes) {
  BOOST_CHECK_THROW(rt::Conv2d(0, 1, 3), rt::ValueError);
  BOOST_CHECK_THROW(rt::Conv2d(1, 1, 0), rt::ValueError);
  BOOST_CHECK_THROW(rt::Conv2d(3, 4, 3, {.groups = 2}), rt::ValueError);
  BOOST_CHECK_THROW(rt::Conv2d(1, 1, 3)(image(2, 2)), rt::ShapeError);
  BOOST_CHECK_THROW(rt::Conv2d(2, 1, 1)(image(2, 2)), rt::ShapeError);
}

BOOST_AUTO_TEST_CASE(pools_take_a_size_or_options) {
  const rt::Tensor x = image(4, 4);
  BOOST_TEST(rt::MaxPool2d(2)(x).values<double>() == (Values{6, 8, 14, 16}),
             boost::test_tools::per_element());
  BOOST_TEST(rt::AvgPool2d(2)(x).values<double>() == (Values{3.5, 5.5, 11.5, 13.5}),
             boost::test_tools::per_element());
  const rt::MaxPool2d overlapping({.kernel_size = {2, 4}, .stride = 1});
  BOOST_TEST(overlapping(x).values<double>() == (Values{8, 12, 16}), boost::test_tools::per_element());
  const rt::AvgPool2d padded({.kernel_size = 2, .stride = 3, .padding = 1, .count_include_pad = false});
  // windows start at -1 and 2; the first sees one row and column of the image, the second two
  BOOST_TEST(padded(x).values<double>() == (Values{1, 3.5, 11, 13.5}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(pools_of_lines_and_adaptive_maxima) {
  const rt::Tensor line = rt::tensor({3.0, 1.0, 2.0, 5.0, 4.0}, {1, 5}), x = image(4, 4);
  const auto gives = [&](const auto& pool, const rt::Tensor& of, const Values& want) {
    BOOST_TEST(pool(of).template values<double>() == want, boost::test_tools::per_element());
  };
  gives(rt::MaxPool1d(2), line, {3, 5});
  gives(rt::MaxPool1d({.kernel_size = 2, .stride = 1, .dilation = 2}), line, {3, 5, 4});
  gives(rt::AvgPool1d(2), line, {2, 3.5});
  gives(rt::AvgPool1d({.kernel_size = 2, .padding = 1, .count_include_pad = false}), line, {3, 1.5, 4.5});
  gives(rt::AdaptiveMaxPool2d(2), x, {6, 8, 14, 16});
  gives(rt::AdaptiveMaxPool2d({1, 3}), x, {14, 15, 16});
}

BOOST_AUTO_TEST_CASE(a_prelu_has_a_weight) {
  const rt::PReLU layer(3);
  BOOST_TEST(layer.named_parameters().at(0).first == "weight");
  BOOST_TEST(layer.weight.values<float>() == std::vector<float>(3, 0.25F), boost::test_tools::per_element());
  BOOST_TEST(layer.weight.requires_grad());
  BOOST_CHECK_THROW(rt::PReLU(0), rt::ValueError);
}

BOOST_AUTO_TEST_CASE(a_small_network_has_right_gradients) {
  rt::manual_seed(6);
  rt::Sequential net(rt::Conv2d(1, 2, 3, {.padding = 1}), rt::Tanh(), rt::AvgPool2d(2), rt::Conv2d(2, 2, 2),
                     rt::MaxPool2d({.kernel_size = {1, 2}}), rt::Flatten(), rt::Linear(2, 3));
  net.to(rt::DType::float64);
  rt::Tensors inputs = net.parameters();
  inputs.push_back(rt::randn({2, 1, 4, 6}, rt::DType::float64).set_requires_grad());
  const auto f = [&](const rt::Tensors& in) { return net(in.back()); };
  const auto first = rt::gradcheck(f, inputs);
  BOOST_TEST(bool(first), first);
  const auto second = rt::gradgradcheck(f, inputs);
  BOOST_TEST(bool(second), second);
}

BOOST_AUTO_TEST_SUITE_END()
