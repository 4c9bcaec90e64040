// What operations do at kinks, ties and infinities, where differences say nothing.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <retort/retort.hpp>

namespace retort::tests {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

template <class F>
std::vector<double> gradient(F f, const std::vector<double>& at, bool create_graph = false) {
  const Tensor x = tensor(at).set_requires_grad();
  return grad({sum(f(x))}, {x}, {.create_graph = create_graph})[0].template values<double>();
}

void check(const std::vector<double>& got, const std::vector<double>& want) {
  BOOST_REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    BOOST_TEST((got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i]))),
               "element " << i << ": " << got[i] << ", not " << want[i]);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(operations_at_their_edges)

BOOST_AUTO_TEST_CASE(gradients_at_kinks) {
  for (const bool create_graph : {false, true}) {  // the fast rule and the one of ops
    check(gradient([](const Tensor& x) { return relu(x); }, {-1, 0, 2, nan}, create_graph), {0, 0, 1, 1});
    check(gradient([](const Tensor& x) { return abs(x); }, {-3, 0, 2}, create_graph), {-1, 0, 1});
    check(gradient([](const Tensor& x) { return clamp(x, 0.0, 1.0); }, {-1, 0, 0.5, 1, 2}, create_graph),
          {0, 1, 1, 1, 0});
    check(gradient([](const Tensor& x) { return maximum(x, zeros({2}, DType::float64)); }, {0, 1},
                   create_graph),
          {0.5, 1});
    check(gradient([](const Tensor& x) { return amax(x); }, {3, 1, 3}, create_graph), {0.5, 0, 0.5});
  }
}

BOOST_AUTO_TEST_CASE(logsumexp_of_masked_classes) {
  const auto of_rows = [](const Tensor& x) { return logsumexp(reshape(x, {2, 2}), 1); };
  const auto of_columns = [](const Tensor& x) { return logsumexp(reshape(x, {2, 1, 2}), {0, 1}); };
  for (const bool create_graph : {false, true}) {
    check(gradient(of_rows, {-inf, -inf, 0, -inf}, create_graph), {nan, nan, 1, 0});  // the first of nothing
    check(gradient(of_columns, {-inf, 0, -inf, -inf}, create_graph), {nan, 1, nan, 0});
  }
}

BOOST_AUTO_TEST_CASE(softmax_of_masked_classes) {
  for (const bool create_graph : {false, true}) {
    check(gradient([](const Tensor& x) { return slice(softmax(x, 0), 0, 0, 1); }, {0, 0, -inf}, create_graph),
          {0.25, -0.25, 0});
    check(gradient([](const Tensor& x) { return slice(log_softmax(x, 0), 0, 0, 1); }, {0, 0, -inf},
                   create_graph),
          {0.5, -0.5, 0});
  }
}

BOOST_AUTO_TEST_CASE(a_power_of_two_divides_like_any_number) {
  for (const double divisor : {2.0, 4.0, -0.5, 0x1p-90, 0x1p100, 3.0}) {
    std::vector<float> values = randn({1000}).values<float>();
    values.insert(values.end(),
                  {0.0f, -0.0f, 1e-38f, -1e-45f, 3e38f, std::numeric_limits<float>::infinity()});
    const std::vector<float> got = (tensor(values) / divisor).values<float>();
    for (float& value : values) value /= static_cast<float>(divisor);
    BOOST_TEST(got == values);
  }
}

// Results of 16 MB and more are written past the caches, by threads: bit for bit what small ones hold.
BOOST_AUTO_TEST_CASE(large_results_equal_small_ones) {
  const std::int64_t rows = 4300, columns = 1001;
  const Tensor x = randn({rows, columns}), y = randn({rows, columns}), row = randn({columns});
  const std::vector<std::function<Tensor(const Tensor&, const Tensor&)>> operations{
      [](const Tensor& a, const Tensor& b) { return a + b; },
      [&row](const Tensor& a, const Tensor&) { return a * row; },
      [](const Tensor& a, const Tensor&) { return relu(a); },
      [](const Tensor& a, const Tensor&) { return a / 3; },
      [](const Tensor& a, const Tensor&) { return a / 4; },
      [](const Tensor& a, const Tensor&) { return softmax(a, 1); },
      [](const Tensor& a, const Tensor& b) { return where(less(a, b), a, b); }};
  for (const auto& operation : operations) {
    const Tensor large = operation(x, y);
    for (std::int64_t at = 0; at < rows; at += 61) {
      const Tensor small = operation(slice(x, 0, at, at + 7), slice(y, 0, at, at + 7));
      BOOST_TEST(slice(large, 0, at, at + 7).values<float>() == small.values<float>());
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace retort::tests
