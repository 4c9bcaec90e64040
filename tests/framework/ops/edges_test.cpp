// What operations do at kinks, ties and infinities, where differences say nothing.
#include <boost/test/unit_test.hpp>
#include <cmath>
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

BOOST_AUTO_TEST_SUITE_END()

}  // namespace retort::tests
