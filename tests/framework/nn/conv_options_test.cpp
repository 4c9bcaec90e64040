// Options that callers leave out. This file is compiled for processors for which g++ 12 passes an aggregate
// of several Size2d by value with wrong members, so it fails if an interface takes such options by value.
#include <boost/test/unit_test.hpp>
#include <retort/retort.hpp>

using namespace retort;

namespace {

boost::test_tools::assertion_result has_avx2(boost::unit_test::test_unit_id) {
  return static_cast<bool>(__builtin_cpu_supports("avx2"));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(options_of_convolutions, *boost::unit_test::precondition(has_avx2))

BOOST_AUTO_TEST_CASE(modules_use_the_defaults_of_options_that_are_left_out) {
  const Tensor x = zeros({1, 2, 8, 8});
  const auto shape_of = [&](const auto& module) { return module(x).shape(); };
  BOOST_TEST(shape_of(Conv2d(2, 4, 3)) == Shape({1, 4, 6, 6}));
  BOOST_TEST(shape_of(Conv2d(2, 4, 3, {.stride = 2})) == Shape({1, 4, 3, 3}));
  BOOST_TEST(shape_of(Conv2d(2, 4, 3, {.bias = false})) == Shape({1, 4, 6, 6}));
  BOOST_TEST(shape_of(Conv2d(2, 4, 3, {.padding = 1, .groups = 2})) == Shape({1, 4, 8, 8}));
  BOOST_TEST(shape_of(Conv2d(2, 4, 3, {.dilation = 2})) == Shape({1, 4, 4, 4}));
  BOOST_TEST(shape_of(ConvTranspose2d(2, 4, 3)) == Shape({1, 4, 10, 10}));
  BOOST_TEST(shape_of(ConvTranspose2d(2, 4, 3, {.stride = 2})) == Shape({1, 4, 17, 17}));
  BOOST_TEST(shape_of(MaxPool2d(2)) == Shape({1, 2, 4, 4}));
  BOOST_TEST(shape_of(MaxPool2d({.kernel_size = 3, .stride = 1})) == Shape({1, 2, 6, 6}));
  BOOST_TEST(shape_of(AvgPool2d({.kernel_size = 3, .stride = 1})) == Shape({1, 2, 6, 6}));
}

BOOST_AUTO_TEST_CASE(functions_use_the_defaults_of_options_that_are_left_out) {
  const Tensor x = zeros({1, 2, 8, 8}), weight = zeros({4, 2, 3, 3}), back = zeros({2, 4, 3, 3});
  BOOST_TEST(conv2d(x, weight).shape() == Shape({1, 4, 6, 6}));
  BOOST_TEST(conv2d(x, weight, {}, {.stride = 2}).shape() == Shape({1, 4, 3, 3}));
  BOOST_TEST(conv_transpose2d(x, back).shape() == Shape({1, 4, 10, 10}));
  BOOST_TEST(conv_transpose2d(x, back, {}, {.stride = 2}).shape() == Shape({1, 4, 17, 17}));
  BOOST_TEST(max_pool2d(x, {.kernel_size = 2}).shape() == Shape({1, 2, 4, 4}));
  BOOST_TEST(avg_pool2d(x, {.kernel_size = 2, .stride = 1}).shape() == Shape({1, 2, 7, 7}));
}

BOOST_AUTO_TEST_SUITE_END()
