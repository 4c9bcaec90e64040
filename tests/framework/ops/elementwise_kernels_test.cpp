// Kernels of elementwise operations against the same values computed in small pieces or by other operations.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "retort/retort.hpp"

using namespace retort;

namespace {

Tensor leaf(const Shape& shape, DType dtype = DType::float32) {
  return randn(shape).to(dtype).detach().set_requires_grad();
}

void check_equal(const Tensor& a, const Tensor& b) {
  BOOST_TEST(a.shape() == b.shape());
  BOOST_TEST((a.values<double>() == b.values<double>()));
}
/// Up to rounding of sums of about a thousand terms.
void check_close(const Tensor& a, const Tensor& b, double tolerance) {
  BOOST_TEST(a.shape() == b.shape());
  BOOST_TEST(amax(abs(a - b), Dims{}, false).item<double>() <= tolerance);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(elementwise_kernels)

BOOST_AUTO_TEST_CASE(where_takes_each_element_and_sends_each_gradient_one_way) {
  manual_seed(1);
  for (const DType dtype : {DType::float32, DType::float64})
    for (const std::int64_t n : {1, 7, 16, 33, 1000}) {
      const Tensor a = leaf({3, n}, dtype), b = leaf({3, n}, dtype), g = randn({3, n}).to(dtype);
      const Tensor condition = greater(randn({3, n}), 0), mask = condition.to(dtype);
      const Tensor y = where(condition, a, b);
      check_equal(y, a * mask + b * (1 - mask));
      const Tensors gradients = grad({y}, {a, b}, {.grad_outputs = {g}});
      check_equal(gradients[0], g * mask);
      check_equal(gradients[1], g * (1 - mask));
      check_equal(grad({where(condition, a, 2)}, {a}, {.grad_outputs = {g}})[0], g * mask);
      // A condition that is one row, and one that is a column.
      for (const Shape& shape : {Shape{n}, Shape{3, 1}}) {
        const Tensor some = greater(randn(shape), 0), part = some.to(dtype);
        const Tensor chosen = where(some, a, b);
        check_equal(chosen, a * part + b * (1 - part));
        check_equal(grad({chosen}, {b}, {.grad_outputs = {g}})[0], g * (1 - part));
      }
    }
}

BOOST_AUTO_TEST_CASE(where_keeps_infinities_and_nan_of_the_other_branch_out) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor a = full({40}, 1.f).set_requires_grad(), b = full({40}, -inf).set_requires_grad();
  const Tensor condition = less(arange(40), 20);
  const Tensors gradients =
      grad({where(condition, a, b)}, {a, b}, {.grad_outputs = {full({40}, std::nanf(""))}});
  for (std::size_t i = 0; i < 40; ++i) {
    BOOST_TEST(std::isnan(gradients[0].values<float>()[i]) == (i < 20));
    BOOST_TEST(std::isnan(gradients[1].values<float>()[i]) == (i >= 20));
  }
}

BOOST_AUTO_TEST_CASE(a_column_gets_the_products_of_its_rows) {
  manual_seed(2);
  for (const std::int64_t n : {2, 15, 64, 1025}) {
    const Tensor x = leaf({5, 3, n}), column = leaf({5, 3, 1}), g = randn({5, 3, n});
    const Tensors gradients = grad({x * column}, {x, column}, {.grad_outputs = {g}});
    check_equal(gradients[0], g * column.detach());
    check_close(gradients[1], sum(g * x.detach(), -1, true), 1e-3);
    check_close(gradients[1], grad({column * x}, {column}, {.grad_outputs = {g}})[0], 1e-3);
    check_close(gradients[1], grad({x.detach() * column}, {column}, {.grad_outputs = {g}})[0], 1e-3);
  }
}

BOOST_AUTO_TEST_CASE(results_written_past_the_caches_have_the_same_bits) {
  manual_seed(3);
  constexpr std::int64_t rows = 41, n = 104729;  // more than 16 MB in all, and rows that are not aligned
  const Tensor x = leaf({rows, n}), g = randn({rows, n});
  const auto check = [&](const auto& f) {
    const Tensor y = f(x), dx = grad({y}, {x}, {.grad_outputs = {g}})[0];
    for (const std::int64_t row : {std::int64_t{0}, std::int64_t{17}, rows - 1}) {
      const Tensor piece = select(x.detach(), 0, row).detach().set_requires_grad(), value = f(piece);
      check_equal(select(y.detach(), 0, row), value);
      check_equal(select(dx, 0, row), grad({value}, {piece}, {.grad_outputs = {select(g, 0, row)}})[0]);
    }
  };
  check([](const Tensor& v) { return gelu(v); });
  check([](const Tensor& v) { return gelu(v, GeluApproximation::tanh); });
  check([](const Tensor& v) { return silu(v); });
}

BOOST_AUTO_TEST_CASE(gelu_keeps_its_digits_and_its_limits) {
  // By the formula in double, and what PyTorch returns at the edges.
  const Tensor x = tensor(std::vector<float>{-40, -12, -6, -3, -1, -0.f, 1e-30f, 2, 9, 1e20f});
  const std::vector<float> y = gelu(x, GeluApproximation::tanh).values<float>();
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double v = double{x.values<float>()[i]}, u = 0.7978845608028654 * (v + 0.044715 * v * v * v);
    const double expected = v / (1 + std::exp(-2 * u));
    BOOST_TEST(std::abs(double{y[i]} - expected) <= 2e-5 * std::abs(expected) + 1e-37);
  }
  const float inf = std::numeric_limits<float>::infinity();
  const auto at = [](float v) {
    return gelu(tensor(std::vector<float>{v}), GeluApproximation::tanh).item<float>();
  };
  BOOST_TEST(at(inf) == inf);
  BOOST_TEST(std::isnan(at(std::nanf(""))));
  BOOST_TEST(at(-1e30f) == 0.f);
}

BOOST_AUTO_TEST_SUITE_END()
