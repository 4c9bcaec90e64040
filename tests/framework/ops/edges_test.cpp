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

BOOST_AUTO_TEST_CASE(clamp_with_bounds_beyond_the_type) {
  using Integers = std::vector<std::int64_t>;
  using Limits = std::numeric_limits<std::int64_t>;
  const Tensor x = tensor({-5, 3, 7});
  BOOST_TEST(clamp(x, 0.0, inf).values<std::int64_t>() == (Integers{0, 3, 7}));
  BOOST_TEST(clamp(x, -inf, 3.0).values<std::int64_t>() == (Integers{-5, 3, 3}));
  BOOST_TEST(clamp(x, -1e30, 1e30).values<std::int64_t>() == (Integers{-5, 3, 7}));
  BOOST_TEST(clamp(x, std::nullopt, 0x1p63).values<std::int64_t>() == (Integers{-5, 3, 7}));
  BOOST_TEST(clamp(x, -0x1p63, std::nullopt).values<std::int64_t>() == (Integers{-5, 3, 7}));
  const Integers extremes{Limits::min(), 0, Limits::max()};
  BOOST_TEST(clamp(tensor(extremes), -inf, inf).values<std::int64_t>() == extremes);
  BOOST_TEST(clamp(tensor(extremes), -0x1p63, 0x1p63).values<std::int64_t>() == extremes);
  // A bound that would be the result, and that int64 does not hold.
  BOOST_TEST((clamp(x, 1e30, std::nullopt).dtype() == DType::float32));
  BOOST_TEST(clamp(x, 1e30, std::nullopt).values<float>() == (std::vector<float>{1e30f, 1e30f, 1e30f}));
  BOOST_TEST(clamp(x, std::nullopt, -1e30).values<float>() == (std::vector<float>{-1e30f, -1e30f, -1e30f}));
  BOOST_CHECK_THROW(clamp(x, nan, std::nullopt), ValueError);
  BOOST_CHECK_THROW(clamp(x, 0.0, nan), ValueError);
}

BOOST_AUTO_TEST_CASE(clamp_with_a_bound_of_nan) {
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Tensor x = tensor({-1.0, 2.0, nan, inf}).to(dtype);
    for (const Tensor& y :
         {clamp(x, nan, std::nullopt), clamp(x, std::nullopt, nan), clamp(x, nan, 1.0), clamp(x, 0.0, nan)})
      check(y.values<double>(), {nan, nan, nan, nan});
  }
  for (const bool create_graph : {false, true})
    check(gradient([](const Tensor& x) { return clamp(x, nan, 1.0); }, {-1, 2, nan}, create_graph),
          {0, 0, 0});
}

BOOST_AUTO_TEST_CASE(powers_of_integers_are_exact) {
  using Integers = std::vector<std::int64_t>;
  const Tensor x = tensor({16777217, -3, 0});
  BOOST_TEST(pow(x, 2).values<std::int64_t>() == (Integers{281475010265089, 9, 0}));
  BOOST_TEST(pow(x, 0).values<std::int64_t>() == (Integers{1, 1, 1}));
  BOOST_TEST(pow(tensor({3, -1}), 39).values<std::int64_t>() == (Integers{4052555153018976267, -1}));
  BOOST_TEST(pow(tensor({3, -2, 2}), tensor({33, 3, 62})).values<std::int64_t>() ==
             (Integers{5559060566555523, -8, std::int64_t{1} << 62}));
  BOOST_TEST(pow(3, tensor({0, 33})).values<std::int64_t>() == (Integers{1, 5559060566555523}));
  BOOST_TEST((pow(x, 2.0).dtype() == DType::float32));
  BOOST_TEST((pow(x, 0.5).dtype() == DType::float32));
  BOOST_CHECK_THROW(pow(x, -1), ValueError);
  BOOST_CHECK_THROW(pow(x, tensor({1, -1, 2})), ValueError);
  BOOST_CHECK_THROW(pow(2, tensor({-1})), ValueError);
}

BOOST_AUTO_TEST_CASE(gates_let_no_infinite_gradient_through) {
  for (const bool create_graph : {false, true})
    for (const double g : {inf, nan}) {
      const Tensor x = tensor({-1.0, 0.0, 2.0}).set_requires_grad();
      const Tensor cotangent = full({3}, g, DType::float64);
      const auto given = [&](const Tensor& y) {
        return grad({y}, {x}, {.grad_outputs = {cotangent}, .create_graph = create_graph})[0]
            .values<double>();
      };
      check(given(relu(x)), {0, 0, g});
      check(given(clamp(x, -0.5, 1.0)), {0, g, 0});
      check(given(where(greater(x, -0.5), x, 0)), {0, g, g});
    }
}

BOOST_AUTO_TEST_CASE(where_broadcasts_its_three_operands_in_every_way) {
  const std::vector<Shape> shapes{{}, {1}, {5}, {3, 1}, {3, 5}, {2, 1, 5}, {2, 3, 1}, {2, 3, 5}, {1, 3, 1}};
  for (const Shape& c : shapes)
    for (const Shape& a : shapes)
      for (const Shape& b : shapes) {
        const Tensor condition = greater(randn(c), 0), x = randn(a), y = randn(b);
        const Tensor got = where(condition, x, y);
        const Tensor mask = broadcast_to(condition, got.shape()).to(DType::float32);
        const Tensor want = broadcast_to(x, got.shape()) * mask + broadcast_to(y, got.shape()) * (1 - mask);
        BOOST_TEST(equal(got, want).values<std::int64_t>() == std::vector<std::int64_t>(got.size(), 1));
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
