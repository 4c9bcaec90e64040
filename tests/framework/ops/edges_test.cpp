// Operations at kinks, ties and infinities, where finite differences do not apply.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <retort/framework/fused.hpp>
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
  for (const bool create_graph : {false, true}) {  // the fast rule and the recorded one
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
    check(gradient(of_rows, {-inf, -inf, 0, -inf}, create_graph), {nan, nan, 1, 0});  // no predecessor
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

BOOST_AUTO_TEST_CASE(activations_at_their_kinks_and_at_infinity) {
  for (const bool create_graph : {false, true}) {
    const auto slopes = [&](Tensor (*f)(const Tensor&), const std::vector<double>& x) {
      return gradient(f, x, create_graph);
    };
    check(slopes(relu6, {0, 6, -1, 7, 3, inf, -inf, nan}), {0, 0, 0, 0, 1, 0, 0, 1});
    check(slopes(hardsigmoid, {-3, 3, 0, inf, -inf, nan}), {0, 0, 1.0 / 6, 0, 0, 0});
    check(slopes(hardswish, {-3, 3, 0, 4, inf, -inf, nan}), {0, 1, 0.5, 1, 1, 0, nan});
    const auto slopes_of = [&](const auto& f) { return gradient(f, {0, -inf, 2, nan}, create_graph); };
    check(slopes_of([](const Tensor& x) { return prelu(x, tensor({0.25})); }), {0.25, 0.25, 1, 0.25});
    check(slopes_of([](const Tensor& x) { return leaky_relu(x, 0.25); }), {0.25, 0.25, 1, 0.25});
    check(slopes_of([](const Tensor& x) { return elu(x, 0.5); }), {0.5, 0, 1, nan});
    check(slopes_of([](const Tensor& x) { return softplus(x, {.threshold = 1}); }), {0.5, 0, 1, nan});
    check(slopes_of([](const Tensor& x) { return clamp(x, -2, 0); }), {1, 0, 0, 0});
  }
  const Tensor ends = tensor({inf, -inf, nan});
  check(relu6(ends).values<double>(), {6, 0, nan});
  check(hardsigmoid(ends).values<double>(), {1, 0, nan});
  check(hardswish(ends).values<double>(), {inf, 0, nan});
  check(gelu(ends).values<double>(), {inf, nan, nan});
  check(silu(ends).values<double>(), {inf, nan, nan});
  BOOST_TEST(prelu(full({}, -2.0), tensor({0.5F})).item<float>() == -1);
  const Tensor zero = tensor({-0.0});
  const auto f = [](const auto& x) { return relu(x); };
  BOOST_TEST(std::signbit(relu(zero).item<double>()));
  BOOST_TEST(std::signbit(fused("relu", f, zero).item<double>()));
  BOOST_TEST(relu6(tensor({-1, 3, 9})).values<std::int64_t>() == (std::vector<std::int64_t>{0, 3, 6}));
}

BOOST_AUTO_TEST_CASE(gradients_of_huge_arguments_and_cotangents) {
  for (const GeluApproximation approximate : {GeluApproximation::none, GeluApproximation::tanh})
    for (const bool create_graph : {false, true}) {
      const Tensor x = tensor({3e19f, -3e19f, 1e38f, 3.0f}).set_requires_grad();
      const Tensor y = gelu(x, approximate);
      const std::vector<float> got =
          grad({y}, {x}, {.grad_outputs = {full({4}, 3e19)}, .create_graph = create_graph})[0]
              .values<float>();
      BOOST_TEST(got[0] == 3e19f);
      BOOST_TEST(got[1] == 0);
      BOOST_TEST(got[2] == 3e19f);
      BOOST_TEST(y.values<float>()[0] == 3e19f);
      BOOST_TEST(y.values<float>()[1] == 0);
    }
  for (const bool create_graph : {false, true}) {
    check(gradient([](const Tensor& x) { return softplus(x); }, {1e300, -1e300, 20.5}, create_graph),
          {1, 0, 1});
    check(gradient([](const Tensor& x) { return elu(x, 2); }, {1e300, -1e300, 0}, create_graph), {1, 0, 2});
    check(gradient([](const Tensor& x) { return silu(x); }, {1e300, -1e300}, create_graph), {1, 0});
    check(gradient([](const Tensor& x) { return leaky_relu(x, 0.5); }, {1e300, 0, -1e300}, create_graph),
          {1, 0.5, 0.5});
    check(gradient([](const Tensor& x) { return logaddexp(x, zeros({3}, DType::float64)); },
                   {1e300, 0, -1e300}, create_graph),
          {1, 0.5, 0});
  }
  check(logaddexp(tensor({inf, -inf, inf, -inf, 0.0}), tensor({inf, -inf, -inf, 1.0, -inf})).values<double>(),
        {inf, -inf, inf, 1, 0});
}

// Backward reads the condition from words of 64 bits, which several threads write in blocks.
BOOST_AUTO_TEST_CASE(where_passes_gradients_of_any_size_to_the_chosen_operand) {
  for (const DType dtype : {DType::float32, DType::float64})
    for (const Shape& shape : {Shape{1}, {63}, {64}, {65}, {2049}, {70001}, {130, 71}, {1100, 67}}) {
      const std::int64_t n = element_count(shape), columns = shape[shape.size() - 1];
      const bool by_rows = shape.size() == 2;  // b is one row
      std::vector<std::int64_t> picks(static_cast<std::size_t>(n));
      std::vector<double> g(picks.size()), of_a(picks.size()),
          of_b(static_cast<std::size_t>(by_rows ? columns : n));
      for (std::size_t i = 0; i < picks.size(); ++i) {
        picks[i] = static_cast<std::int64_t>(i * i % 3) - 1;  // -1 and 0
        g[i] = static_cast<double>(1 + i % 5);
        (picks[i] != 0 ? of_a[i] : of_b[i % of_b.size()]) += g[i];
      }
      const Tensor a = zeros(shape, dtype).set_requires_grad(),
                   b = zeros({static_cast<std::int64_t>(of_b.size())}, dtype).set_requires_grad();
      where(tensor(picks, shape), a, b).backward(tensor(g, shape).to(dtype));
      check(a.grad().to(DType::float64).values<double>(), of_a);
      check(b.grad().to(DType::float64).values<double>(), of_b);
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

// The products of a batch are computed alternately with those of the other factor's gradient.
BOOST_AUTO_TEST_CASE(a_batch_multiplies_like_single_matrices) {
  const Tensor a = randn({3, 2, 40, 50}).set_requires_grad(), b = randn({2, 50, 60}).set_requires_grad();
  const Tensor product = matmul(a, b), g = randn(product.shape());
  const auto gradients = grad({product}, {a, b}, {.grad_outputs = {g}, .retain_graph = true});
  for (std::size_t i = 0; i < 2; ++i) {
    const Tensor alone = grad({product}, {i == 0 ? a : b}, {.grad_outputs = {g}, .retain_graph = true})[0];
    BOOST_TEST(alone.values<float>() == gradients[i].values<float>(), boost::test_tools::per_element());
  }
  for (std::int64_t i = 0; i < 3; ++i)
    for (std::int64_t j = 0; j < 2; ++j) {
      const auto part = [&](const Tensor& x) { return select(select(x, 0, i), 0, j).detach(); };
      const Tensor one = part(a), other = select(b, 0, j).detach();
      BOOST_TEST(part(product).values<float>() == matmul(one, other).values<float>(),
                 boost::test_tools::per_element());
      BOOST_TEST(
          part(gradients[0]).values<float>() == matmul(part(g), transpose(other, 0, 1)).values<float>(),
          boost::test_tools::per_element());
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

// Large results, whose memory is fetched ahead of the stores, have the bits of small ones.
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

BOOST_AUTO_TEST_CASE(the_smallest_integer_is_the_minimum) {
  constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
  const Tensor x = tensor(std::vector<std::int64_t>{lowest, 0, 5, 1, lowest, lowest}, {2, 3});
  const auto rows = min(x, 1), columns = min(x, 0);
  BOOST_TEST(rows.values.values<std::int64_t>() == std::vector<std::int64_t>(2, lowest));
  BOOST_TEST(rows.indices.values<std::int64_t>() == (std::vector<std::int64_t>{0, 1}));
  BOOST_TEST(columns.indices.values<std::int64_t>() == (std::vector<std::int64_t>{0, 1, 1}));
  BOOST_TEST(min(x).item<std::int64_t>() == lowest);
  check(min(tensor({2.0, nan, nan, -inf}), 0).indices.values<double>(), {1});
}

BOOST_AUTO_TEST_CASE(the_gradient_of_an_extremum_goes_to_nan) {
  const std::vector<double> one{2, nan, 1}, two{2, nan, 1, nan};
  for (const bool create_graph : {false, true}) {
    check(gradient([](const Tensor& x) { return max(x); }, one, create_graph), {0, 1, 0});
    check(gradient([](const Tensor& x) { return min(x); }, one, create_graph), {0, 1, 0});
    check(gradient([](const Tensor& x) { return max(x); }, two, create_graph), {0, 0.5, 0, 0.5});
    check(gradient([](const Tensor& x) { return max(x, 0).values; }, two, create_graph), {0, 1, 0, 0});
    check(gradient(
              [](const Tensor& x) {
                return amin(reshape(x, {2, 2}), 1);
              },
              two, create_graph),
          {0, 1, 0, 1});
    check(gradient(
              [](const Tensor& x) {
                return amax(reshape(x, {2, 2}), 0);
              },
              two, create_graph),
          {1, 0.5, 0, 0.5});
    check(gradient([](const Tensor& x) { return max(x) * inf; }, {1, 3, 2}, create_graph), {0, inf, 0});
  }
}

BOOST_AUTO_TEST_CASE(softmax_ignores_the_upstream_gradient_of_a_zero) {
  for (const std::int64_t dim : {0, 1})
    for (const bool create_graph : {false, true}) {
      const Tensor upstream =
          reshape(tensor({1.0, 2.0, inf, 4.0, nan, 5.0}), dim == 1 ? Shape{2, 3} : Shape{3, 2});
      const std::vector<double> rows{0, 0, -inf, 0, -inf, 0}, columns{0, 0, -inf, 0, -inf, -inf};
      const auto f = [&](const Tensor& x) { return softmax(reshape(x, upstream.shape()), dim); };
      const Tensor x = tensor(dim == 1 ? rows : columns).set_requires_grad();
      check(grad({f(x)}, {x}, {.grad_outputs = {upstream}, .create_graph = create_graph})[0].values<double>(),
            dim == 1 ? std::vector<double>{-0.25, 0.25, 0, -0.25, 0, 0.25}
                     : std::vector<double>{0, -0.5, 0, 0.5, 0, 0});
    }
}

BOOST_AUTO_TEST_CASE(a_pool_window_in_the_padding_has_no_gradient) {
  const auto pool = [](const Tensor& x, const MaxPool2dOptions& options) {
    const Tensor y = max_pool2d(x, options);
    const Tensor upstream = full(y.shape(), nan, y.dtype());
    return std::pair(y.values<double>(), grad({y}, {x}, {.grad_outputs = {upstream}})[0].values<double>());
  };
  const auto [alone, none] = pool(ones({1, 1, 1, 1}, DType::float64).set_requires_grad(),
                                  {.kernel_size = 2, .padding = 1, .dilation = 2});
  check(alone, {-inf});
  check(none, {0});
  // Kernel rows at -1 and 2 of an image of two.
  const auto [wide, nowhere] = pool(
      randn({2, 2, 5}, DType::float64).set_requires_grad(),
      {.kernel_size = {2, 1}, .stride = {1, 2}, .padding = {1, 0}, .dilation = {3, 1}, .ceil_mode = true});
  check(wide, std::vector<double>(6, -inf));
  check(nowhere, std::vector<double>(20, 0));
}

BOOST_AUTO_TEST_CASE(in_ceil_mode_a_kernel_may_be_larger_than_the_padded_image) {
  const Tensor x = tensor({1.0, 2.0, 3.0, 4.0}, {1, 1, 2, 2});
  check(max_pool2d(x, {.kernel_size = 3, .stride = 2, .ceil_mode = true}).values<double>(), {4});
  check(avg_pool2d(x, {.kernel_size = 3, .stride = 2, .ceil_mode = true}).values<double>(), {2.5});
  const Shape shape =
      max_pool2d(
          ones({2, 3, 4, 5}),
          {.kernel_size = {3, 4}, .stride = {2, 4}, .padding = {0, 2}, .dilation = {2, 1}, .ceil_mode = true})
          .shape();
  BOOST_TEST(shape == (Shape{2, 3, 1, 2}));
  BOOST_CHECK_THROW(max_pool2d(x, {.kernel_size = 3, .stride = 1, .ceil_mode = true}), ShapeError);
  BOOST_CHECK_THROW(max_pool2d(x, {.kernel_size = 3, .stride = 2}), ShapeError);
}

// The gradient is e^x far into the tail, where y + 1 is 0.
BOOST_AUTO_TEST_CASE(the_gradients_of_elu_and_expm1_keep_their_tail) {
  for (const double at : {-10.0, -20.0, -40.0, -80.0})
    for (const bool record : {false, true}) {
      const Tensor x = tensor({at}).set_requires_grad();
      for (const Tensor& y : {elu(x), expm1(x)}) {
        const Tensor g = grad({y}, {x}, {.create_graph = record})[0];
        BOOST_TEST(g.item<double>() == std::exp(at), boost::test_tools::tolerance(1e-14));
      }
    }
}

BOOST_AUTO_TEST_CASE(constants_have_no_variance) {
  for (const DType dtype : {DType::float32, DType::float64})
    for (const double value : {100000.3, 1e7 + 1, -3.7e12, 0.1, 1e30})
      for (const std::int64_t n : {2, 3, 7, 9, 16, 33, 100, 1000, 4097, 70'000})
        for (const std::int64_t rows : {1, 3}) {
          const Shape by_row{rows, n}, by_column{n, rows};
          const auto is_zero = [](const Tensor& t) {
            for (const double element : t.values<double>())
              if (element != 0) return false;
            return true;
          };
          const Tensor x = full(by_row, value, dtype), columns = full(by_column, value, dtype);
          BOOST_TEST_INFO_SCOPE(value << " " << n << " × " << rows);
          BOOST_TEST(is_zero(layer_norm(x, {n})));
          BOOST_TEST(is_zero(batch_norm(columns, {}, {}, {}, {}, {.training = true})));
          BOOST_TEST(is_zero(batch_norm(reshape(x, {1, rows, n}), {}, {}, {}, {}, {.training = true})));
          BOOST_TEST(is_zero(var(x, 1)));
          BOOST_TEST(is_zero(var(columns, 0)));
          BOOST_TEST(is_zero(var(reshape(columns, {n, 1, rows}), {0, 2})));
          const Tensor leaf = x.detach().set_requires_grad();
          BOOST_TEST(is_zero(grad({sum(var(leaf, 1))}, {leaf})[0]));
        }
}

BOOST_AUTO_TEST_CASE(an_offset_does_not_change_variances) {
  const auto off = [](const Tensor& x, DType dtype) { return (x + 1e8).to(dtype); };
  const Tensor steps = tensor({0.0, 8.0, 16.0, 24.0}), spread = tensor({-12.0, -4.0, 4.0, 12.0});
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Tensor x = off(steps, dtype).set_requires_grad();
    BOOST_TEST(var(x).item<double>() == 320.0 / 3, boost::test_tools::tolerance(1e-7));
    check(grad({var(x, {}, false, false)}, {x})[0].values<double>(), (spread / 2).values<double>());
    const std::vector<double> want = (spread / std::sqrt(80.0)).values<double>();
    const auto near = [&](const Tensor& y) {
      const std::vector<double> got = y.values<double>();
      for (std::size_t i = 0; i < 4; ++i) BOOST_TEST(got[i] == want[i], boost::test_tools::tolerance(1e-6));
    };
    near(layer_norm(x, {4}, {}, {}, 0));
    const Tensor mean = zeros({1}, DType::float64), variance = zeros({1}, DType::float64);
    near(batch_norm(reshape(x, {4, 1}), mean, variance, {}, {}, {.training = true, .momentum = 1, .eps = 0}));
    near(batch_norm(reshape(x, {2, 1, 2}), {}, {}, {}, {}, {.training = true, .eps = 0}));
    BOOST_TEST(mean.item<double>() == 1e8 + 12, boost::test_tools::tolerance(1e-7));
    BOOST_TEST(variance.item<double>() == 320.0 / 3, boost::test_tools::tolerance(1e-6));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace retort::tests
