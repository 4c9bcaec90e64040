#include <boost/test/unit_test.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "retort/framework/base/random.hpp"
#include "retort/framework/core/gradcheck.hpp"
#include "retort/framework/nn/norm.hpp"
#include "retort/framework/ops/reduction.hpp"

namespace rt = retort;

namespace {

const auto roughly = boost::test_tools::tolerance(1e-5);

std::vector<std::string> state_names(const rt::Module& module) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : module.state_dict()) names.push_back(name);
  return names;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(norm_modules)

BOOST_AUTO_TEST_CASE(layer_norm_normalises_its_last_dimensions) {
  rt::manual_seed(2);
  rt::LayerNorm layer({2, 4});
  BOOST_TEST(state_names(layer) == (std::vector<std::string>{"weight", "bias"}),
             boost::test_tools::per_element());
  const rt::Tensor y = layer(rt::randn({3, 2, 4}));
  for (const double mean : rt::mean(y, {1, 2}).values<double>()) BOOST_TEST(std::abs(mean) < 1e-6);
  for (const double var : rt::var(y, {1, 2}, false, false).values<double>())
    BOOST_TEST(var == 1.0, boost::test_tools::tolerance(1e-3));
  BOOST_CHECK_THROW(layer(rt::ones({3, 2, 5})), rt::ShapeError);
}

BOOST_AUTO_TEST_CASE(layer_norm_options) {
  BOOST_TEST(rt::LayerNorm(3, {.elementwise_affine = false}).parameters().empty());
  const rt::LayerNorm no_bias(3, {.bias = false});
  BOOST_TEST(no_bias.weight.requires_grad());
  BOOST_TEST(!no_bias.bias.defined());
  const rt::LayerNorm wide(2, {.eps = 1, .elementwise_affine = false});
  // x = (-1, 1): variance 1, so y = x / sqrt(1 + eps)
  BOOST_TEST(wide(rt::tensor({-1.0, 1.0}, {1, 2})).values<double>()[1] == 1 / std::sqrt(2.0), roughly);
}

BOOST_AUTO_TEST_CASE(rms_and_group_norm_have_pytorchs_parameters) {
  const rt::RMSNorm rms({2, 4}, {.eps = 1});
  BOOST_TEST(state_names(rms) == (std::vector<std::string>{"weight"}), boost::test_tools::per_element());
  BOOST_TEST(rms(rt::ones({3, 2, 4})).values<double>()[0] == 1 / std::sqrt(2.0), roughly);
  BOOST_TEST(rt::RMSNorm(3, {.elementwise_affine = false}).parameters().empty());
  BOOST_CHECK_THROW(rms(rt::ones({3, 2, 5})), rt::ShapeError);

  const rt::GroupNorm group(2, 6, {.eps = 1});
  BOOST_TEST(state_names(group) == (std::vector<std::string>{"weight", "bias"}),
             boost::test_tools::per_element());
  const rt::Tensor x = rt::tensor({-1., 1., 1., -1., 1., -1.}, {1, 6}).to(rt::DType::float32);
  // Mean 1/3 and variance 8/9 of the first three channels.
  BOOST_TEST(group(x).values<double>()[0] == (-1 - 1.0 / 3) / std::sqrt(8.0 / 9 + 1), roughly);
  BOOST_TEST(rt::GroupNorm(1, 3, {.affine = false}).parameters().empty());
  BOOST_CHECK_THROW(group(rt::ones({3, 5, 2})), rt::ShapeError);
  BOOST_CHECK_THROW(rt::GroupNorm(4, 6), rt::ValueError);
  BOOST_CHECK_THROW(rt::GroupNorm(0, 6), rt::ValueError);
}

BOOST_AUTO_TEST_CASE(batch_norm_keeps_running_statistics) {
  rt::BatchNorm1d layer(2, {.momentum = 0.5});
  BOOST_TEST(state_names(layer) == (std::vector<std::string>{"weight", "bias", "running_mean", "running_var",
                                                             "num_batches_tracked"}),
             boost::test_tools::per_element());
  BOOST_TEST(layer.parameters().size() == 2U);
  const rt::Tensor x = rt::tensor({1., 10., 3., 10., 5., 40.}, {3, 2}).to(rt::DType::float32);
  const rt::Tensor y = layer(x);
  BOOST_TEST(y.values<double>()[0] == -2 / std::sqrt(8.0 / 3 + 1e-5), roughly);
  const std::vector<double> mean = layer.running_mean.values<double>(),
                            var = layer.running_var.values<double>();
  BOOST_TEST(mean[0] == 1.5, roughly);
  BOOST_TEST(mean[1] == 10.0, roughly);
  BOOST_TEST(var[0] == 0.5 + 0.5 * 4, roughly);
  BOOST_TEST(var[1] == 0.5 + 0.5 * 300, roughly);
  BOOST_TEST(layer.num_batches_tracked.item<std::int64_t>() == 1);

  layer.eval();
  const std::vector<double> evaluated = layer(x).values<double>();
  BOOST_TEST(evaluated[0] == (1 - 1.5) / std::sqrt(2.5 + 1e-5), roughly);
  BOOST_TEST(layer.running_mean.values<double>() == mean, boost::test_tools::per_element());
  BOOST_TEST(layer.num_batches_tracked.item<std::int64_t>() == 1);

  rt::BatchNorm1d other(2);
  other.load_state_dict(layer.state_dict());
  other.eval();
  BOOST_TEST(other(x).values<double>() == evaluated, boost::test_tools::per_element());
  other.to(rt::DType::float64);
  BOOST_TEST((other.running_var.dtype() == rt::DType::float64));
  BOOST_TEST((other.num_batches_tracked.dtype() == rt::DType::int64));
}

struct NormBlock : rt::Module {
  rt::Tensor operator()(const rt::Tensor& x) const { return norm(x); }
  rt::BatchNorm1d norm{2};
  RETORT_MEMBERS(norm)
};

BOOST_AUTO_TEST_CASE(a_module_with_a_batch_norm_may_have_a_const_call_operator) {
  const NormBlock block;
  (void)block(rt::ones({3, 2}));
  BOOST_TEST(block.norm.num_batches_tracked.item<std::int64_t>() == 1);
}

BOOST_AUTO_TEST_CASE(batch_norm_without_running_statistics) {
  rt::BatchNorm2d layer(3, {.affine = false, .track_running_stats = false});
  BOOST_TEST(layer.state_dict().empty());
  layer.eval();
  const rt::Tensor y = layer(rt::randn({4, 3, 2, 2}));
  for (const double mean : rt::mean(y, {0, 2, 3}).values<double>()) BOOST_TEST(std::abs(mean) < 1e-6);
}

BOOST_AUTO_TEST_CASE(batch_norm_refuses_other_shapes) {
  rt::BatchNorm1d rows(2);
  rt::BatchNorm2d images(2);
  BOOST_TEST(rows(rt::randn({3, 2, 4})).dim() == 3);
  BOOST_CHECK_THROW(rows(rt::ones({3, 2, 4, 4})), rt::ShapeError);
  BOOST_CHECK_THROW(images(rt::ones({3, 2})), rt::ShapeError);
  BOOST_CHECK_THROW(rows(rt::ones({3, 5})), rt::ShapeError);
  BOOST_CHECK_THROW(rows(rt::ones({1, 2})), rt::ValueError);
  BOOST_CHECK_THROW(rt::BatchNorm1d(0), rt::ValueError);
  BOOST_TEST(rows.num_batches_tracked.item<std::int64_t>() == 1);
}

BOOST_AUTO_TEST_CASE(gradients_by_differences) {
  rt::manual_seed(4);
  const auto check = [](auto& layer, const rt::Tensor& x) {
    layer.to(rt::DType::float64);
    rt::Tensors inputs = layer.parameters();
    inputs.push_back(x.set_requires_grad());
    const auto f = [&](const rt::Tensors& in) { return layer(in.back()); };
    const auto first = rt::gradcheck(f, inputs);
    BOOST_TEST(bool(first), first);
    const auto second = rt::gradgradcheck(f, inputs);
    BOOST_TEST(bool(second), second);
  };
  rt::LayerNorm layer(5);
  check(layer, rt::randn({3, 5}, rt::DType::float64));
  rt::BatchNorm1d rows(3);
  check(rows, rt::randn({4, 3}, rt::DType::float64));
  rt::BatchNorm2d images(2);
  check(images, rt::randn({2, 2, 2, 3}, rt::DType::float64));
  images.eval();
  check(images, rt::randn({2, 2, 2, 3}, rt::DType::float64));
}

BOOST_AUTO_TEST_SUITE_END()
