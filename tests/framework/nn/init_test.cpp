#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "retort/framework/base/random.hpp"
#include "retort/framework/nn/init.hpp"

namespace rt = retort;

namespace {

struct Moments {
  double mean = 0, std = 0, low = 0, high = 0;
};

Moments moments(const rt::Tensor& tensor) {
  const std::vector<double> values = tensor.values<double>();
  Moments m;
  for (const double value : values) m.mean += value / static_cast<double>(values.size());
  for (const double value : values)
    m.std += (value - m.mean) * (value - m.mean) / static_cast<double>(values.size());
  m.std = std::sqrt(m.std);
  m.low = *std::ranges::min_element(values);
  m.high = *std::ranges::max_element(values);
  return m;
}

const auto roughly = boost::test_tools::tolerance(0.02);

}  // namespace

BOOST_AUTO_TEST_SUITE(init)

BOOST_AUTO_TEST_CASE(draws_have_their_moments) {
  for (const rt::DType dtype : {rt::DType::float32, rt::DType::float64}) {
    rt::manual_seed(11);
    const rt::Tensor t = rt::empty({200, 100}, dtype);
    BOOST_TEST(retort::detail::Access::same(rt::init::uniform_(t, -2, 4), t));
    BOOST_TEST(moments(t).mean == 1.0, boost::test_tools::tolerance(0.05));
    BOOST_TEST(moments(t).std == 6 / std::sqrt(12.0), roughly);
    BOOST_TEST(moments(t).low >= -2);
    BOOST_TEST(moments(t).high <= 4);
    rt::init::normal_(t, 3, 0.5);
    BOOST_TEST(moments(t).mean == 3.0, roughly);
    BOOST_TEST(moments(t).std == 0.5, roughly);
  }
}

BOOST_AUTO_TEST_CASE(scaled_draws_have_their_variance) {
  rt::manual_seed(12);
  const rt::Tensor t = rt::empty({200, 20, 2, 3});  // fan_in 120, fan_out 1200
  rt::init::kaiming_normal_(t, 0, "fan_in", "relu");
  BOOST_TEST(moments(t).std == std::sqrt(2.0 / 120), roughly);
  rt::init::kaiming_normal_(t, 0, "fan_out", "linear");
  BOOST_TEST(moments(t).std == std::sqrt(1.0 / 1200), roughly);
  rt::init::kaiming_uniform_(t, std::sqrt(5.0));
  BOOST_TEST(moments(t).high == 1 / std::sqrt(120.0), roughly);
  BOOST_TEST(moments(t).low == -1 / std::sqrt(120.0), roughly);
  rt::init::xavier_uniform_(t, 2);
  BOOST_TEST(moments(t).high == 2 * std::sqrt(6.0 / 1320), roughly);
  rt::init::xavier_normal_(t);
  BOOST_TEST(moments(t).std == std::sqrt(2.0 / 1320), roughly);
}

BOOST_AUTO_TEST_CASE(uniform_draws_stay_in_their_interval) {
  rt::manual_seed(1);
  const auto check = [](rt::DType dtype, double low, double high) {
    BOOST_TEST_CONTEXT(rt::name(dtype) << " from " << low << " to " << high) {
      const rt::Tensor drawn = rt::init::uniform_(rt::empty({4000}, dtype), low, high);
      const std::vector<double> values = drawn.values<double>();
      const auto [least, most] = std::ranges::minmax(values);
      BOOST_TEST(least >= low);
      BOOST_TEST(most < high);
      BOOST_TEST(std::isfinite(least));
    }
  };
  check(rt::DType::float32, 1e6, 1e6 + 0.125);
  check(rt::DType::float32, -1e6 - 0.125, -1e6);
  check(rt::DType::float32, 0.7, 0.7000001);
  check(rt::DType::float32, -3e38, 3e38);
  check(rt::DType::float64, -1.7e308, 1.7e308);
  check(rt::DType::float64, 1e15, 1e15 + 0.25);
  check(rt::DType::float32, 0, 1e-45);
  const rt::Tensor same = rt::init::uniform_(rt::empty({3}), 0.3, 0.3);
  BOOST_TEST(same.values<float>() == std::vector<float>(3, 0.3f), boost::test_tools::per_element());
  BOOST_CHECK_THROW(rt::init::uniform_(rt::empty({3}), 0, 1e39), rt::ValueError);
}

BOOST_AUTO_TEST_CASE(constants_and_gains) {
  const rt::Tensor t = rt::empty({3});
  BOOST_TEST(moments(rt::init::constant_(t, 2.5)).low == 2.5);
  BOOST_TEST(moments(rt::init::ones_(t)).high == 1.0);
  BOOST_TEST(moments(rt::init::zeros_(t)).high == 0.0);
  BOOST_TEST(rt::init::calculate_gain("tanh") == 5.0 / 3);
  BOOST_TEST(rt::init::calculate_gain("leaky_relu", 1) == 1.0);
  BOOST_TEST(rt::init::calculate_gain("conv2d") == 1.0);
}

BOOST_AUTO_TEST_CASE(the_seed_decides) {
  const rt::Tensor a = rt::empty({5}), b = rt::empty({5});
  rt::manual_seed(1);
  rt::init::normal_(a);
  rt::init::normal_(b);
  BOOST_TEST(a.values<float>()[0] != b.values<float>()[0]);
  rt::manual_seed(1);
  rt::init::normal_(b);
  BOOST_TEST(a.values<float>() == b.values<float>(), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(an_initialised_leaf_stays_a_parameter) {
  const rt::Tensor t = rt::ones({2, 2}).set_requires_grad();
  BOOST_TEST(rt::init::xavier_normal_(t).requires_grad());
}

BOOST_AUTO_TEST_CASE(bad_arguments_are_refused) {
  const rt::Tensor t = rt::ones({2, 2}), row = rt::ones({2}), integers = rt::zeros({2, 2}, rt::DType::int64);
  BOOST_CHECK_THROW(rt::init::uniform_(t, 1, 0), rt::ValueError);
  BOOST_CHECK_THROW(rt::init::uniform_(t, 0, std::numeric_limits<double>::infinity()), rt::ValueError);
  BOOST_CHECK_THROW(rt::init::normal_(t, 0, -1), rt::ValueError);
  BOOST_CHECK_THROW(rt::init::normal_(integers), rt::TypeError);
  BOOST_CHECK_THROW(rt::init::zeros_(integers), rt::TypeError);
  BOOST_CHECK_THROW(rt::init::kaiming_uniform_(row), rt::ValueError);
  BOOST_CHECK_THROW(rt::init::xavier_normal_(row), rt::ValueError);
  BOOST_CHECK_THROW(rt::init::kaiming_normal_(t, 0, "fan_up"), rt::ValueError);
  BOOST_CHECK_THROW(rt::init::kaiming_normal_(t, 0, "fan_in", "swish"), rt::ValueError);
  BOOST_TEST(moments(t).low == 1.0);  // refused calls have changed nothing
  BOOST_TEST(rt::init::kaiming_uniform_(rt::empty({0, 0})).size() == 0);
}

BOOST_AUTO_TEST_SUITE_END()
