// Gradients where intermediate values overflow, underflow or are infinite, and undefined arguments.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <retort/framework/fused.hpp>
#include <retort/retort.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests_support.hpp"

namespace retort::tests {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

std::vector<double> gradient(const std::function<Tensor(const Tensor&)>& f, const Tensor& at, bool recorded) {
  const Tensor x = at.detach().set_requires_grad();
  return grad({sum(f(x))}, {x}, {.create_graph = recorded})[0].values<double>();
}

void check(const std::vector<double>& got, const std::vector<double>& want, double tolerance = 1e-6) {
  BOOST_REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    BOOST_TEST((got[i] == want[i] || std::abs(got[i] - want[i]) <= tolerance * std::abs(want[i])),
               "element " << i << ": " << got[i] << ", not " << want[i]);
}

// The mixed derivative of x^y in float64.
double mixed(double x, double y, bool base_first,
             const std::function<Tensor(const Tensor&, const Tensor&)>& f) {
  const Tensor a = tensor({x}).set_requires_grad(), b = tensor({y}).set_requires_grad();
  const Tensor first = grad({sum(f(a, b))}, {base_first ? a : b}, {.create_graph = true})[0];
  return grad({sum(first)}, {base_first ? b : a})[0].item<double>();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(operations_at_the_limits_of_their_range)

BOOST_AUTO_TEST_CASE(products_whose_parts_overflow) {
  const auto product = [](const Tensor& x) { return prod(x); };
  check(gradient(product, tensor({1e30f, 1e30f, 1e-30f, 1e-30f}), false), {1e-30, 1e-30, 1e30, 1e30});
  check(gradient(product, tensor({1e-30f, 1e-30f, 1e30f, 1e30f}), true), {1e30, 1e30, 1e-30, 1e-30});
  check(gradient(product, tensor({1e200, 1e200, 1e-200, 1e-200}), false), {1e-200, 1e-200, 1e200, 1e200});
  check(gradient(product, tensor({1e-200, 0.0, 1e-200, 1e200, 1e200}), false), {0, 1, 0, 0, 0});
  check(gradient(product, tensor({2.0, 3.0, -4.0}), false), {-12, -8, 6});
}

BOOST_AUTO_TEST_CASE(distances_whose_squares_leave_the_range) {
  for (const float size : {1e-30f, 1e25f}) {
    const Tensor a = tensor({0.0f, 0.0f}, {1, 2}), b = tensor({3 * size, 4 * size}, {1, 2});
    check(cdist(a, b).values<double>(), {5.0 * static_cast<double>(size)});
    const auto distance = [&](const Tensor& x) { return cdist(x, b); };
    for (const bool recorded : {false, true}) check(gradient(distance, a, recorded), {-0.6, -0.8});
  }
  const Tensor near = tensor({1000.0f, 1000.0f}, {1, 2}), nearer = tensor({1000.0625f, 1000.0f}, {1, 2});
  check(cdist(near, nearer).values<double>(), {0.0625});
}

BOOST_AUTO_TEST_CASE(norms_with_a_negative_exponent) {
  for (const bool recorded : {false, true}) {
    for (const double p : {-1.0, -2.5}) {
      const auto size = [p](const Tensor& x) { return norm(x, p); };
      check(gradient(size, tensor({0.0, 2.0, -3.0}), recorded), {0, 0, 0});
      check(gradient(size, tensor({1.0, inf}), recorded), {1, 0});
    }
  }
  BOOST_TEST(norm(tensor({1e-39f, 1.0f}), -1).item<double>() == 1e-39, boost::test_tools::tolerance(1e-5));
  BOOST_TEST(norm(tensor({1e30f, 1e30f}), -2).item<double>() == 1e30 / std::sqrt(2),
             boost::test_tools::tolerance(1e-5));
}

BOOST_AUTO_TEST_CASE(the_variance_of_an_empty_tensor_to_second_order) {
  for (const Shape& shape : {Shape{0, 3}, Shape{3, 0}})
    for (const std::int64_t dim : {0, 1}) {
      const Tensor x = zeros(shape, DType::float64).set_requires_grad();
      const Tensor first = grad({sum(var(x, dim))}, {x}, {.create_graph = true})[0];
      BOOST_TEST(first.shape() == shape);
      const Tensor second = grad({sum(first * first)}, {x}, {.allow_unused = true})[0];
      BOOST_TEST((!second.defined() || second.shape() == shape));
    }
}

BOOST_AUTO_TEST_CASE(logaddexp_shares_the_gradient_of_equal_infinities) {
  for (const double at : {inf, -inf, 2.0})
    for (const bool recorded : {false, true}) {
      const Tensor other = tensor({at});
      check(gradient([&](const Tensor& x) { return logaddexp(x, other); }, other, recorded), {0.5});
      check(gradient([&](const Tensor& x) { return logaddexp(other, x); }, other, recorded), {0.5});
    }
  check(logaddexp(tensor({inf, -inf, inf}), tensor({inf, -inf, -inf})).values<double>(), {inf, -inf, inf});
}

BOOST_AUTO_TEST_CASE(the_mixed_derivative_of_powers_at_exponent_0) {
  const auto power = [](const Tensor& x, const Tensor& y) { return pow(x, y); };
  const auto in_one = [](const Tensor& x, const Tensor& y) {
    return fused(
        "power", [](const auto& a, const auto& b) { return pow(a, b); }, x, y);
  };
  const std::vector<std::function<Tensor(const Tensor&, const Tensor&)>> powers{power, in_one};
  for (const auto& f : powers)
    for (const bool base_first : {false, true}) {
      check({mixed(2, 0, base_first, f)}, {0.5});
      check({mixed(3, 2, base_first, f)}, {3 * (1 + 2 * std::log(3))});
    }
  for (const bool recorded : {false, true}) {
    const Tensor base = tensor({0.0, 2.0, inf, std::nan("")});
    check(gradient([](const Tensor& x) { return pow(x, zeros({4}, DType::float64)); }, base, recorded),
          {0, 0, 0, 0});
  }
}

BOOST_AUTO_TEST_CASE(the_error_function_is_flat_at_infinity) {
  for (const bool complement : {false, true}) {
    const Tensor x = tensor({inf, -inf}).set_requires_grad();
    const Tensor first = grad({sum(complement ? erfc(x) : erf(x))}, {x}, {.create_graph = true})[0];
    check(first.values<double>(), {0, 0});
    check(grad({sum(first)}, {x})[0].values<double>(), {0, 0});
  }
}

// 1 - sigmoid must keep its precision where the sigmoid is close to 1.
BOOST_AUTO_TEST_CASE(derivatives_of_the_approximated_gelu_for_large_x) {
  const Tensor x = arange(-12.0, 12.0, 0.01).to(DType::float64);
  const auto derivatives = [&](DType dtype, bool recorded) {
    const Tensor in = x.to(dtype).detach().set_requires_grad();
    const Tensor first = grad({sum(gelu(in, GeluApproximation::tanh))}, {in}, {.create_graph = recorded})[0];
    const Tensor second = recorded ? grad({sum(first)}, {in})[0] : zeros_like(first);
    return Tensors{first.detach().to(DType::float64), second.to(DType::float64)};
  };
  const Tensors exact = derivatives(DType::float64, true);
  for (const bool recorded : {false, true}) {
    const Tensors rounded = derivatives(DType::float32, recorded);
    BOOST_TEST(max(abs(rounded[0] - exact[0])).item<double>() < 4e-7);
    if (recorded) BOOST_TEST(max(abs(rounded[1] - exact[1])).item<double>() < 1e-6);
  }
}

BOOST_AUTO_TEST_CASE(an_empty_tensor_has_no_greatest_element) {
  BOOST_TEST(thrown_text<ValueError>([] { (void)max(zeros({0})); }).starts_with("max: "));
  BOOST_TEST(thrown_text<ValueError>([] { (void)min(zeros({0})); }).starts_with("min: "));
}

BOOST_AUTO_TEST_CASE(undefined_arguments_are_errors_that_name_the_operation) {
  const Tensor u, x = ones({2, 2}), i = tensor({0, 1});
  const std::vector<std::pair<std::string, std::function<void()>>> calls{
      {"add", [&] { (void)(u + x); }},
      {"mul", [&] { (void)(x * u); }},
      {"div", [&] { (void)(1 / u); }},
      {"exp", [&] { (void)exp(u); }},
      {"gelu", [&] { (void)gelu(u); }},
      {"clamp", [&] { (void)clamp(u, 0, 1); }},
      {"where", [&] { (void)where(equal(x, 1), u, x); }},
      {"pow", [&] { (void)pow(u, 2); }},
      {"less", [&] { (void)less(u, 1); }},
      {"equal", [&] { (void)equal(u, 1); }},
      {"sum", [&] { (void)sum(u); }},
      {"mean", [&] { (void)mean(u); }},
      {"amax", [&] { (void)amax(u); }},
      {"max", [&] { (void)max(u, 0); }},
      {"argmax", [&] { (void)argmax(u); }},
      {"cumsum", [&] { (void)cumsum(u, 0); }},
      {"prod", [&] { (void)prod(u); }},
      {"norm", [&] { (void)norm(u); }},
      {"cdist", [&] { (void)cdist(x, u); }},
      {"softmax", [&] { (void)softmax(u, 0); }},
      {"log_softmax", [&] { (void)log_softmax(u, 0); }},
      {"sort", [&] { (void)sort(u); }},
      {"topk", [&] { (void)topk(u, 1); }},
      {"matmul", [&] { (void)matmul(x, u); }},
      {"linear", [&] { (void)linear(u, x); }},
      {"linear", [&] { (void)linear(x, u); }},
      {"reshape", [&] { (void)reshape(u, {1}); }},
      {"transpose", [&] { (void)transpose(u, 0, 1); }},
      {"permute", [&] { (void)permute(u, {0}); }},
      {"squeeze", [&] { (void)squeeze(u, 0); }},
      {"unsqueeze", [&] { (void)unsqueeze(u, 0); }},
      {"flatten", [&] { (void)flatten(u); }},
      {"slice", [&] { (void)slice(u, 0, 0, 1); }},
      {"select", [&] { (void)select(u, 0, 0); }},
      {"unbind", [&] { (void)unbind(u); }},
      {"concat",
       [&] {
         (void)concat({x, u}, 0);
       }},
      {"stack",
       [&] {
         (void)stack({x, u}, 0);
       }},
      {"gather", [&] { (void)gather(u, 0, i); }},
      {"index_select", [&] { (void)index_select(x, 0, u); }},
      {"embedding", [&] { (void)embedding(i, u); }},
      {"flip", [&] { (void)flip(u, {0}); }},
      {"pad",
       [&] {
         (void)pad(u, {1, 1});
       }},
      {"tril", [&] { (void)tril(u); }},
      {"dropout", [&] { (void)dropout(u, 0.5); }},
      {"kl_div", [&] { (void)kl_div(u, x); }},
      {"cross_entropy", [&] { (void)cross_entropy(x, u); }},
      {"nll_loss", [&] { (void)nll_loss(u, i); }},
      {"mse_loss", [&] { (void)mse_loss(x, u); }},
      {"sum_to", [&] { (void)sum_to(u, {1}); }},
      {"broadcast_to", [&] { (void)broadcast_to(u, {1}); }},
      {"clone", [&] { (void)u.clone(); }},
      {"to", [&] { (void)u.to(DType::float64); }},
  };
  for (const auto& [name, call] : calls) {
    const std::string text = thrown_text<ValueError>(call);
    BOOST_TEST(text.starts_with(name + ": "), name << " says: " << text);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace retort::tests
