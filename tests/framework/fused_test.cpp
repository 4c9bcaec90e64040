#include "retort/framework/fused.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <retort/retort.hpp>

// A user's namespace: the functions are found although none is imported.
namespace somebody {

retort::Tensor swish_gate(const retort::Tensor& x, const retort::Tensor& y) {
  return retort::fused(
      "swish_gate", [](const auto& a, const auto& b) { return a * sigmoid(b) + tanh(a); }, x, y);
}

}  // namespace somebody

namespace retort::tests {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

Tensor leaf(const Tensor& x) { return x.clone().set_requires_grad(); }

/// Gradients of f(inputs) for a cotangent g, computed in either way.
template <class F>
Tensors gradients(F f, const Tensors& inputs, const Tensor& g, bool create_graph) {
  return grad({f(inputs)}, inputs, {.grad_outputs = {g}, .create_graph = create_graph, .allow_unused = true});
}

void check_close(const Tensor& got, const Tensor& want, double tolerance) {
  BOOST_REQUIRE(got.shape() == want.shape());
  BOOST_TEST((got.dtype() == want.dtype()));
  const std::vector<double> a = got.values<double>(), b = want.values<double>();
  for (std::size_t i = 0; i < a.size(); ++i)
    BOOST_TEST((a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i])) ||
                std::abs(a[i] - b[i]) <= tolerance * (1 + std::abs(b[i]))),
               "element " << i << ": " << a[i] << ", not " << b[i]);
}

void check(const std::vector<double>& got, const std::vector<double>& want) {
  BOOST_REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    BOOST_TEST((got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i]))),
               "element " << i << ": " << got[i] << ", not " << want[i]);
}

template <class T>
double ulps(T got, long double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : inf;
  const T rounded = static_cast<T>(want);
  if (got == rounded) return 0;
  if (std::isinf(rounded) || std::isinf(got) || std::isnan(got)) return inf;
  const T above = std::nextafter(std::abs(rounded), std::numeric_limits<T>::infinity());
  return static_cast<double>(std::abs(got - want) / (above - std::abs(rounded)));
}

/// The largest error of f against `exact` over the ranges and at special values.
template <class T, class F, class Exact>
void check_ulps(const char* name, const std::vector<double>& ranges, double allowed, F f, Exact exact) {
  using Limits = std::numeric_limits<T>;
  std::vector<T> x{0,
                   T(-0.0),
                   1,
                   -1,
                   T(inf),
                   T(-inf),
                   T(nan),
                   Limits::min(),
                   Limits::denorm_min(),
                   -Limits::denorm_min(),
                   Limits::max(),
                   Limits::lowest(),
                   T(1e-10),
                   T(-1e-10),
                   T(1e-20),
                   T(0.5),
                   T(88.72),
                   T(709.78)};
  for (std::size_t r = 0; r < ranges.size(); r += 2)
    for (int i = 0; i <= 40000; ++i)
      x.push_back(static_cast<T>(ranges[r] + (ranges[r + 1] - ranges[r]) * i / 40000));
  const std::vector<T> y = fused(name, f, tensor(x)).template values<T>();
  double worst = 0;
  T at = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double error = ulps(y[i], exact(static_cast<long double>(x[i])));
    if (error > worst) worst = error, at = x[i];
  }
  BOOST_TEST(worst <= allowed,
             name << (sizeof(T) == 4 ? ", float32: " : ", float64: ") << worst << " ulp at " << at);
}

template <class F, class Exact>
void check_accuracy(const char* name, const std::vector<double>& ranges, double allowed, F f, Exact exact) {
  check_ulps<float>(name, ranges, allowed, f, exact);
  check_ulps<double>(name, ranges, allowed, f, exact);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(fused_operations)

BOOST_AUTO_TEST_CASE(functions_are_accurate_everywhere) {
  using L = long double;
  check_accuracy(
      "exp", {-110, 90, -1, 1}, 1.5, [](const auto& x) { return exp(x); }, [](L x) { return std::exp(x); });
  check_accuracy(
      "log", {1e-3, 10, 0.9, 1.1}, 1.5, [](const auto& x) { return log(x); },
      [](L x) { return std::log(x); });
  check_accuracy(
      "log1p", {-0.999, 3, -1e-3, 1e-3}, 3, [](const auto& x) { return log1p(x); },
      [](L x) { return std::log1p(x); });
  check_accuracy(
      "expm1", {-50, 90, -1, 1}, 3, [](const auto& x) { return expm1(x); },
      [](L x) { return std::expm1(x); });
  check_accuracy(
      "tanh", {-20, 20, -0.1, 0.1}, 4, [](const auto& x) { return tanh(x); },
      [](L x) { return std::tanh(x); });
  // Around the multiples of π/2, around the largest argument that registers reduce, and beyond it.
  for (const auto& [name, ranges] :
       {std::pair{"near",
                  std::vector<double>{-10, 10, -1e-3, 1e-3, 1.5707, 1.5709, -3.1417, -3.1415, 804.2, 804.3}},
        {"far", {-33000, 33000, 32767, 32769, -32769, -32767, 51471.8, 51471.9, 1e5, 1e9, 1e20, 3e38}}}) {
    check_accuracy(
        name, ranges, 2, [](const auto& x) { return sin(x); }, [](L x) { return std::sin(x); });
    check_accuracy(
        name, ranges, 2, [](const auto& x) { return cos(x); }, [](L x) { return std::cos(x); });
  }
  check_accuracy(
      "sigmoid", {-80, 80}, 3, [](const auto& x) { return sigmoid(x); },
      [](L x) { return 1 / (1 + std::exp(-x)); });
  check_accuracy(
      "erf", {-6, 6, -0.01, 0.01}, 3, [](const auto& x) { return erf(x); }, [](L x) { return std::erf(x); });
  check_accuracy(
      "erfc", {-6, 9, -0.1, 0.1}, 8, [](const auto& x) { return erfc(x); }, [](L x) { return std::erfc(x); });
  check_accuracy(
      "sqrt", {0, 10}, 0.5, [](const auto& x) { return sqrt(x); }, [](L x) { return std::sqrt(x); });
  check_accuracy(
      "pow", {0, 4}, 1, [](const auto& x) { return pow(x, 2.5); }, [](L x) { return std::pow(x, 2.5L); });
}

BOOST_AUTO_TEST_CASE(sin_and_cos_of_an_element_do_not_depend_on_its_neighbours) {
  const std::vector<double> special{0.0, -0.0, 1e30, inf, -inf, nan, 32768, 32768.01, -40000, 1e-45, -3e-39};
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Tensor near = randn({1003}, dtype) * 10, far = concat({tensor(special).to(dtype), near * 3e4}, 0);
    for (const auto& f : {+[](const Tensor& x) { return sin(x); }, +[](const Tensor& x) { return cos(x); }}) {
      const Tensor whole = f(concat({near, far, near}, 0));
      check(slice(whole, 0, 0, 1003).values<double>(), f(near).values<double>());
      check(slice(whole, 0, -1003).values<double>(), f(near).values<double>());
      for (std::int64_t i = 0; i < 40; ++i)
        check(slice(whole, 0, 1003 + i, 1004 + i).values<double>(),
              f(slice(far, 0, i, i + 1)).values<double>());
    }
    const std::vector<double> zeros = sin(tensor({-0.0, 0.0}).to(dtype)).values<double>();
    BOOST_TEST((std::signbit(zeros[0]) && !std::signbit(zeros[1])));
  }
}

BOOST_AUTO_TEST_CASE(equals_the_composed_operations) {
  const auto composed = [](const Tensors& in) { return in[0] * sigmoid(in[1]) + tanh(in[0]); };
  const auto fused_form = [](const Tensors& in) { return somebody::swish_gate(in[0], in[1]); };
  const std::vector<std::pair<Shape, Shape>> shapes{
      {{7}, {7}},          {{}, {}},      {{3, 5}, {5}},  {{3, 1}, {1, 5}}, {{300, 40}, {1}},
      {{2, 1, 4}, {3, 1}}, {{0, 3}, {3}}, {{}, {2, 300}}, {{1000}, {1000}}, {{65, 3}, {65, 1}}};
  for (const DType dtype : {DType::float32, DType::float64})
    for (const auto& [a, b] : shapes) {
      const Tensors in{leaf(randn(a, dtype)), leaf(randn(b, dtype))};
      const double tolerance = dtype == DType::float32 ? 1e-4 : 1e-13;
      const Tensor y = composed(in), g = randn(y.shape(), dtype);
      check_close(fused_form(in), y, tolerance);
      for (const bool create_graph : {false, true}) {
        const Tensors got = gradients(fused_form, in, g, create_graph),
                      want = gradients(composed, in, g, create_graph);
        for (int k = 0; k < 2; ++k) check_close(got[k], want[k], tolerance);
      }
    }
}

BOOST_AUTO_TEST_CASE(any_number_of_elements_and_inputs) {
  for (std::int64_t n = 0; n < 70; ++n) {
    const Tensor x = randn({n}), y = randn({n});
    const Tensor sum_of = fused(
        "sum", [](const auto& a, const auto& b) { return a + b; }, x, y);
    BOOST_TEST(sum_of.values<float>() == (x + y).values<float>());
  }
  const Tensors in{leaf(randn({3, 1, 1})), leaf(randn({4, 1})), leaf(randn({5})),
                   leaf(randn({3, 4, 5})), leaf(randn({})),     leaf(randn({1, 1}))};
  const auto six = [](const Tensors& t) {
    return fused(
        "six",
        [](const auto& a, const auto& b, const auto& c, const auto& d, const auto& e, const auto& f) {
          return a * b + c * d - e / (2 + f * f);
        },
        t[0], t[1], t[2], t[3], t[4], t[5]);
  };
  const auto composed = [](const Tensors& t) { return t[0] * t[1] + t[2] * t[3] - t[4] / (2 + t[5] * t[5]); };
  check_close(six(in), composed(in), 1e-5);
  const Tensor g = randn({3, 4, 5});
  for (const bool create_graph : {false, true}) {
    const Tensors got = gradients(six, in, g, create_graph), want = gradients(composed, in, g, create_graph);
    for (int k = 0; k < 6; ++k) check_close(got[k], want[k], 1e-4);
  }
}

BOOST_AUTO_TEST_CASE(types_promote_and_numbers_do_not) {
  const double captured = 0.1;
  const auto f = [captured](const auto& a, const auto& b) {
    return 2 * a + captured * b - 1.5f + max(a, 0) + pow(b, 2);
  };
  const auto type = [&](const Tensor& a, const Tensor& b) { return fused("f", f, a, b).dtype(); };
  const Tensor i = tensor({1, 2, 3}), x = tensor({1.0f, 2.0f, 3.0f}), d = tensor({1.0, 2.0, 3.0});
  BOOST_TEST((type(x, x) == DType::float32));
  BOOST_TEST((type(x, d) == DType::float64));
  BOOST_TEST((type(i, d) == DType::float64));
  BOOST_TEST((type(i, x) == DType::float32));
  BOOST_TEST((type(i, i) == DType::float32));
  const Tensor a = leaf(x), b = leaf(d);
  const Tensors got = grad({sum(fused("f", f, a, b))}, {a, b});
  BOOST_TEST((got[0].dtype() == DType::float32));
  check(got[0].values<double>(), {3, 3, 3});
  check_close(got[1], 0.1 + 2 * d, 1e-15);
  BOOST_CHECK_THROW(fused("f", f, x, randn({2})), ShapeError);
}

BOOST_AUTO_TEST_CASE(kinks_and_ties) {
  for (const bool create_graph : {false, true}) {
    const auto derivative = [&](auto f, const std::vector<double>& at) {
      const Tensor x = leaf(tensor(at));
      return grad({sum(fused("f", f, x))}, {x}, {.create_graph = create_graph})[0].template values<double>();
    };
    check(derivative([](const auto& x) { return relu(x); }, {-1, 0, 2, nan, inf}), {0, 0, 1, 1, 1});
    check(derivative([](const auto& x) { return abs(x); }, {-3, 0, -0.0, 2}), {-1, 0, 0, 1});
    check(derivative([](const auto& x) { return max(x, 0); }, {-1, 0, 2}), {0, 0.5, 1});
    check(derivative([](const auto& x) { return min(0, x); }, {-1, 0, 2}), {1, 0.5, 0});
    check(derivative([](const auto& x) { return max(x, x); }, {1}), {1});
    check(derivative([](const auto& x) { return sqrt(x); }, {0, 4}), {inf, 0.25});
    check(derivative([](const auto& x) { return pow(x, 0); }, {0, 2, nan}), {0, 0, 0});
    check(derivative([](const auto& x) { return pow(x, 2); }, {0, -2}), {0, -4});
    check(derivative([](const auto& x) { return pow(0, x); }, {2, 0}), {0, 0});
    check(derivative([](const auto& x) { return where(x > 0, log(x), 0); }, {-1, 0, 2}), {0, 0, 0.5});
    check(derivative([](const auto& x) { return where(x > 0, sqrt(x), x); }, {-1, 0, 4}), {1, 1, 0.25});
    check(derivative(
              [](const auto& x) {
                return where((x > 0) & !(x > 2), x * x, where((x < -1) | (x == 0), 3 * x, x));
              },
              {-2, -1, 0, 1, 3}),
          {3, 1, 3, 2, 1});
    check(derivative([](const auto& x) { return x * where(x >= 1, 1.0, 0.0); }, {0, 1, 2}), {0, 1, 1});
    check(derivative([](const auto& x) { return where(x != x, 7, x) * where(x <= 1, 2, 3); }, {0, 5, nan}),
          {2, 3, 0});
    check(derivative([](const auto&) { return 3.0; }, {0, 5}), {0, 0});
  }
  const auto value = [](auto f, const std::vector<double>& at) {
    return fused("f", f, tensor(at)).template values<double>();
  };
  check(value([](const auto& x) { return max(x, 1); }, {0, 1, 2, nan}), {1, 1, 2, nan});
  check(value([](const auto& x) { return min(1, x); }, {0, 1, 2, nan}), {0, 1, 1, nan});
  check(value([](const auto& x) { return pow(x, 0); }, {0, 2, nan}), {1, 1, 1});
  check(value([](const auto&) { return 3; }, {0, 2}), {3, 3});
}

BOOST_AUTO_TEST_CASE(masked_derivatives_stay_0) {
  // The derivative by y; x multiplies or divides it by infinity.
  for (const bool create_graph : {false, true}) {
    const auto derivative = [&](auto f, double x_value, double y_value, double upstream = 1) {
      const Tensor x = leaf(tensor({x_value})), y = leaf(tensor({y_value}));
      const Tensor loss = sum(fused("f", f, x, y)) * upstream;
      return grad({loss}, {x, y}, {.create_graph = create_graph})[1].template item<double>();
    };
    const auto never = [](const auto& y) { return where(y < 0, y, 0); };
    BOOST_TEST(derivative([=](const auto& x, const auto& y) { return x * never(y); }, inf, 2) == 0);
    BOOST_TEST(derivative([=](const auto& x, const auto& y) { return never(y) / x; }, 0, 2) == 0);
    BOOST_TEST(derivative([=](const auto& x, const auto& y) { return exp(-(never(y) * 2)) * x; }, inf, 2) ==
               0);
    BOOST_TEST(
        derivative([=](const auto& x, const auto& y) { return (never(y) - never(3 * y)) * x; }, inf, 2) == 0);
    BOOST_TEST(derivative([=](const auto& x, const auto& y) { return sqrt(never(y)) + x; }, 1, 2) == 0);
    BOOST_TEST(derivative([=](const auto& x, const auto& y) { return never(y) / (x * never(y)); }, inf, 2) ==
               0);
    BOOST_TEST(derivative([](const auto& x, const auto& y) { return x * relu(y); }, inf, -1) == 0);
    BOOST_TEST(derivative([](const auto& x, const auto& y) { return x * max(y, 0); }, inf, -1) == 0);
    BOOST_TEST(derivative([](const auto& x, const auto& y) { return x * min(y, 0); }, inf, 1) == 0);
    BOOST_TEST(derivative([](const auto& x, const auto& y) { return relu(y) + x; }, 1, -1, inf) == 0);
    // A selected value is multiplied as usual, even if it is 0.
    BOOST_TEST(derivative([](const auto& x, const auto& y) { return x * where(y < 3, y, 0); }, inf, 2) ==
               inf);
    BOOST_TEST(std::isnan(
        derivative([](const auto& x, const auto& y) { return x * where(y < 3, y * y, 0); }, inf, 0)));
    BOOST_TEST(derivative([=](const auto& x, const auto& y) { return (never(y) + y) * x; }, inf, 2) == inf);
    BOOST_TEST(derivative([](const auto& x, const auto& y) { return x * where(y < 0, y, 3 * y); }, inf, 2) ==
               inf);
  }
}

BOOST_AUTO_TEST_CASE(variables_may_be_reassigned) {
  const auto f = [](const auto& a, const auto& b) {
    auto sum_of = a;
    sum_of += b;
    sum_of *= b;
    auto p = a * 0 + 1;
    for (int i = 0; i < 3; ++i) p = p * a + b;
    sum_of = sum_of - p;
    return sum_of / (1 + b * b);
  };
  const Tensor x = leaf(randn({37}, DType::float64)), y = leaf(randn({37}, DType::float64));
  const auto composed = [](const Tensors& t) {
    const Tensor &a = t[0], &b = t[1];
    return ((a + b) * b - (((a + b) * a + b) * a + b)) / (1 + b * b);
  };
  const auto fused_form = [&](const Tensors& t) { return fused("f", f, t[0], t[1]); };
  const Tensor g = randn({37}, DType::float64);
  for (const bool create_graph : {false, true})
    for (int k = 0; k < 2; ++k)
      check_close(gradients(fused_form, {x, y}, g, create_graph)[k],
                  gradients(composed, {x, y}, g, create_graph)[k], 1e-12);
}

BOOST_AUTO_TEST_CASE(the_graph_is_an_operation_s) {
  const Tensor x = leaf(tensor({0.3, -1.2})), y = tensor({2.0, 0.5});
  // Only the inputs that require a gradient get one; a graph may be kept and walked again.
  const Tensor z = somebody::swish_gate(x, y);
  z.backward(ones({2}, DType::float64), {.retain_graph = true});
  const std::vector<double> once = x.grad().values<double>();
  z.backward(ones({2}, DType::float64));
  check_close(x.grad(), 2 * tensor(once), 1e-15);
  BOOST_CHECK_THROW(z.backward(ones({2}, DType::float64)), GraphError);
  BOOST_TEST(!somebody::swish_gate(y, y).requires_grad());
  // One tensor in both places.
  const auto twice = [](const Tensors& in) { return somebody::swish_gate(in[0], in[0]); };
  BOOST_TEST(gradcheck(twice, {x}));
  BOOST_TEST(gradgradcheck(twice, {x}));
  const auto both = [](const Tensors& in) { return somebody::swish_gate(in[0], in[1]); };
  BOOST_TEST(gradgradcheck(both, {x, leaf(y)}));
  // A value changed since.
  const Tensor changed = leaf(tensor({1.0}));
  const Tensor result = somebody::swish_gate(changed, changed);
  changed.mutable_data<double>()[0] = 2;
  BOOST_CHECK_THROW(result.backward(), GraphError);
}

BOOST_AUTO_TEST_CASE(bits_do_not_depend_on_threads) {
  const Tensor x = leaf(randn({301, 217})), y = leaf(randn({217})), g = randn({301, 217});
  const auto run = [&](int threads) {
    set_num_threads(threads);
    const Tensor z = somebody::swish_gate(x, y);
    Tensors all = grad({z}, {x, y}, {.grad_outputs = {g}});
    all.push_back(z);
    return all;
  };
  const int before = get_num_threads();
  const Tensors one = run(1);
  for (const int threads : {2, 3, 5}) {
    const Tensors many = run(threads);
    for (int k = 0; k < 3; ++k) BOOST_TEST(many[k].values<float>() == one[k].values<float>());
  }
  set_num_threads(before);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace retort::tests
