// Rows of the op table: framework/ops/elementwise.hpp, core/engine_ops.hpp, dropout.hpp.
#include <cmath>
#include <numbers>

#include "op_cases.hpp"

namespace retort::tests {
namespace {

template <class F>
Function by_element(F f) {
  return [f](const Tensors& in) { return each(in[0], f); };
}
template <class F>
Function by_pair(F f) {
  return [f](const Tensors& in) { return each(in[0], in[1], f); };
}

/// A comparison and its reference.
template <class Call, class F>
OpCase comparison(const char* name, Call call, F f) {
  std::vector<Tensors> samples = binary_samples();
  samples.push_back({tensor({1.0, 2.0, 3.0, std::nan("")}), tensor({1.0, 3.0, 2.0, 1.0})});
  return {.name = name,
          .call = [call](const Tensors& in) { return call(in[0], in[1]); },
          .reference = [f](const Tensors& in) { return as_int64(each(in[0], in[1], f)); },
          .samples = samples,
          .refused = unequal_pair(),
          .differentiable = false};
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }
double gelu_by_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

std::vector<OpCase> arithmetic() {
  using In = const Tensors&;
  const std::vector<Refused> refused = unequal_pair();
  return {
      {.name = "add",
       .call = [](In in) { return in[0] + in[1]; },
       .reference = by_pair([](double a, double b) { return a + b; }),
       .samples = binary_samples(),
       .refused = refused},
      {.name = "add",
       .variant = "a scalar",
       .call = [](In in) { return 2.5 + add(in[0], -1.25); },
       .reference = by_element([](double a) { return a + 1.25; }),
       .samples = unary_samples()},
      {.name = "sub",
       .call = [](In in) { return in[0] - in[1]; },
       .reference = by_pair([](double a, double b) { return a - b; }),
       .samples = binary_samples(),
       .refused = refused},
      {.name = "sub",
       .variant = "a scalar",
       .call = [](In in) { return 2.5 - (in[0] - 1.25); },
       .reference = by_element([](double a) { return 2.5 - (a - 1.25); }),
       .samples = unary_samples()},
      {.name = "mul",
       .call = [](In in) { return in[0] * in[1]; },
       .reference = by_pair([](double a, double b) { return a * b; }),
       .samples = binary_samples(),
       .refused = refused},
      {.name = "mul",
       .variant = "a scalar",
       .call = [](In in) { return 2.5 * in[0]; },
       .reference = by_element([](double a) { return 2.5 * a; }),
       .samples = unary_samples()},
      {.name = "div",
       .call = [](In in) { return in[0] / in[1]; },
       .reference = by_pair([](double a, double b) { return a / b; }),
       .samples = binary_samples(),
       .refused = refused},
      {.name = "div",
       .variant = "a scalar",
       .call = [](In in) { return 2.5 / (in[0] / 3.0); },
       .reference = by_element([](double a) { return 2.5 / (a / 3.0); }),
       .samples = unary_samples()},
      {.name = "pow",
       .variant = "x^s",
       .call = [](In in) { return pow(in[0], 2.5) + pow(in[0], 3); },
       .reference = by_element([](double a) { return std::pow(a, 2.5) + a * a * a; }),
       .samples = positive_samples()},
      {.name = "pow",
       .variant = "an integer exponent and negative x",
       .call = [](In in) { return pow(in[0], 3); },
       .reference = by_element([](double a) { return a * a * a; }),
       .samples = unary_samples()},
      {.name = "pow",
       .variant = "x^y",
       .call = [](In in) { return pow(in[0], in[1]); },
       .reference = by_pair([](double a, double b) { return std::pow(a, b); }),
       .samples = {{uniform({3, 5}, 1, 0.3, 2), spread({5})},
                   {uniform({3, 1}, 2, 0.3, 2), spread({3, 4})},
                   {uniform({1}, 3, 0.3, 2), spread({1})},
                   {uniform({0, 3}, 4, 0.3, 2), spread({0, 3})}},
       .refused = refused},
      {.name = "pow",
       .variant = "s^y",
       .call = [](In in) { return pow(1.7, in[0]); },
       .reference = by_element([](double a) { return std::pow(1.7, a); }),
       .samples = unary_samples()},
      {.name = "maximum",
       .call = [](In in) { return maximum(in[0], in[1]); },
       .reference = by_pair([](double a, double b) { return std::max(a, b); }),
       .samples = binary_samples(),
       .refused = refused},
      {.name = "minimum",
       .call = [](In in) { return minimum(in[0], in[1]); },
       .reference = by_pair([](double a, double b) { return std::min(a, b); }),
       .samples = binary_samples(),
       .refused = refused},
      {.name = "where",
       .call = [](In in) { return where(in[0], in[1], in[2]); },
       .reference =
           [](In in) {
             const Tensor picked =
                 each(in[0], in[1], [](double c, double a) { return c != 0 ? a : std::nan(""); });
             return each(picked, in[2], [](double a, double b) { return std::isnan(a) ? b : a; });
           },
       .samples = {{indices({3, 4}, 1, 2), spread({3, 4}), spread({4}, 2, 0.6)},
                   {indices({3, 1}, 2, 2), spread({4}), spread({3, 4}, 2, 0.6)},
                   {indices({1}, 3, 2), spread({1}), spread({1}, 2, 0.6)},
                   {indices({0}, 3, 2), spread({0}), spread({0})}},
       .refused = {{Refusal::type, {spread({3}), spread({3}), spread({3})}},
                   {Refusal::shape, {indices({3}, 1, 2), spread({4}), spread({4})}}}},
      {.name = "where",
       .variant = "scalars",
       .call = [](In in) { return where(in[0], in[1], 0.5) + where(in[0], -0.5, in[1]); },
       .reference =
           [](In in) {
             return each(in[0], in[1], [](double c, double a) { return c != 0 ? a - 0.5 : 0.5 + a; });
           },
       .samples = {{indices({3, 4}, 1, 2), spread({3, 4})},
                   {indices({1}, 1, 2), spread({1})},
                   {indices({0}, 1, 2), spread({0})}}},
  };
}

std::vector<OpCase> functions() {
  using In = const Tensors&;
  return {
      {.name = "neg",
       .call = [](In in) { return -in[0]; },
       .reference = by_element([](double x) { return -x; }),
       .samples = unary_samples()},
      {.name = "exp",
       .call = [](In in) { return exp(in[0]); },
       .reference = by_element([](double x) { return std::exp(x); }),
       .samples = unary_samples()},
      {.name = "log",
       .call = [](In in) { return log(in[0]); },
       .reference = by_element([](double x) { return std::log(x); }),
       .samples = positive_samples()},
      {.name = "tanh",
       .call = [](In in) { return tanh(in[0]); },
       .reference = by_element([](double x) { return std::tanh(x); }),
       .samples = unary_samples()},
      {.name = "sigmoid",
       .call = [](In in) { return sigmoid(in[0]); },
       .reference = by_element([](double x) { return 1 / (1 + std::exp(-x)); }),
       .samples = unary_samples()},
      {.name = "sqrt",
       .call = [](In in) { return sqrt(in[0]); },
       .reference = by_element([](double x) { return std::sqrt(x); }),
       .samples = positive_samples()},
      {.name = "abs",
       .call = [](In in) { return abs(in[0]); },
       .reference = by_element([](double x) { return std::abs(x); }),
       .samples = unary_samples()},
      {.name = "relu",
       .call = [](In in) { return relu(in[0]); },
       .reference = by_element([](double x) { return x > 0 ? x : 0; }),
       .samples = unary_samples()},
      {.name = "silu",
       .call = [](In in) { return silu(in[0]); },
       .reference = by_element([](double x) { return x / (1 + std::exp(-x)); }),
       .samples = unary_samples()},
      {.name = "softplus",
       .call = [](In in) { return softplus(in[0]); },
       .reference = by_element([](double x) { return std::log1p(std::exp(x)); }),
       .samples = unary_samples()},
      {.name = "softplus",
       .variant = "linear above a threshold",
       .call = [](In in) { return softplus(in[0], {.beta = 3, .threshold = 1}); },
       .reference = by_element([](double x) { return 3 * x > 1 ? x : std::log1p(std::exp(3 * x)) / 3; }),
       .samples = unary_samples()},
      {.name = "elu",
       .call = [](In in) { return elu(in[0], 1.5); },
       .reference = by_element([](double x) { return x > 0 ? x : 1.5 * std::expm1(x); }),
       .samples = unary_samples()},
      {.name = "leaky_relu",
       .call = [](In in) { return leaky_relu(in[0], 0.1); },
       .reference = by_element([](double x) { return x > 0 ? x : 0.1 * x; }),
       .samples = unary_samples()},
      {.name = "relu6",
       .call = [](In in) { return relu6(in[0] * 8); },
       .reference = by_element([](double x) { return std::min(std::max(8 * x, 0.0), 6.0); }),
       .samples = unary_samples()},
      {.name = "hardsigmoid",
       .call = [](In in) { return hardsigmoid(in[0] * 4); },
       .reference = by_element([](double x) { return std::min(std::max(4 * x + 3, 0.0), 6.0) / 6; }),
       .samples = unary_samples()},
      {.name = "hardswish",
       .call = [](In in) { return hardswish(in[0] * 4); },
       .reference = by_element([](double x) { return 4 * x * std::min(std::max(4 * x + 3, 0.0), 6.0) / 6; }),
       .samples = unary_samples()},
      {.name = "prelu",
       .call = [](In in) { return prelu(in[0], in[1]); },
       .reference = by_pair([](double x, double w) { return x > 0 ? x : w * x; }),
       .samples = {{spread({3, 5}), spread({5}, 2)},
                   {spread({17}), spread({1}, 2)},
                   {spread({1}), spread({1}, 2)},
                   {spread({0, 3}), spread({3}, 2)}},
       .refused = {{Refusal::shape, {spread({2, 3}), spread({2})}},
                   {Refusal::shape, {spread({3}), spread({3})}},
                   {Refusal::shape, {spread({2, 3}), spread({3, 1})}}}},
      {.name = "prelu",
       .variant = "channels of images",
       .call = [](In in) { return prelu(in[0], in[1]); },
       .reference =
           [](In in) {
             return each(in[0], reshape(in[1], {in[1].size(), 1, 1}),
                         [](double x, double w) { return x > 0 ? x : w * x; });
           },
       .samples = {{spread({2, 3, 2, 4}), spread({3}, 2)}, {spread({2, 1, 3, 3}), spread({1}, 2)}}},
      {.name = "logaddexp",
       .call = [](In in) { return logaddexp(in[0], in[1]); },
       .reference = by_pair([](double a, double b) { return std::log(std::exp(a) + std::exp(b)); }),
       .samples = binary_samples(),
       .refused = unequal_pair()},
      {.name = "sin",
       .call = [](In in) { return sin(in[0]); },
       .reference = by_element([](double x) { return std::sin(x); }),
       .samples = unary_samples()},
      {.name = "cos",
       .call = [](In in) { return cos(in[0]); },
       .reference = by_element([](double x) { return std::cos(x); }),
       .samples = unary_samples()},
      {.name = "erf",
       .call = [](In in) { return erf(in[0]); },
       .reference = by_element([](double x) { return std::erf(x); }),
       .samples = unary_samples()},
      {.name = "erfc",
       .call = [](In in) { return erfc(in[0]); },
       .reference = by_element([](double x) { return std::erfc(x); }),
       .samples = unary_samples()},
      {.name = "log1p",
       .call = [](In in) { return log1p(in[0]); },
       .reference = by_element([](double x) { return std::log1p(x); }),
       .samples = positive_samples()},
      {.name = "expm1",
       .call = [](In in) { return expm1(in[0]); },
       .reference = by_element([](double x) { return std::expm1(x); }),
       .samples = unary_samples()},
      {.name = "gelu",
       .call = [](In in) { return gelu(in[0]); },
       .reference = by_element([](double x) { return x * normal_cdf(x); }),
       .samples = unary_samples()},
      {.name = "gelu",
       .variant = "by tanh",
       .call = [](In in) { return gelu(in[0], GeluApproximation::tanh); },
       .reference = by_element(gelu_by_tanh),
       .samples = unary_samples()},
      {.name = "clamp",
       .call = [](In in) { return clamp(in[0], -0.5, 0.75); },
       .reference = by_element([](double x) { return std::min(std::max(x, -0.5), 0.75); }),
       .samples = unary_samples()},
      {.name = "clamp",
       .variant = "one bound",
       .call = [](In in) { return clamp(in[0], std::nullopt, 0.5) + clamp(in[0], -0.5, std::nullopt); },
       .reference = by_element([](double x) { return std::min(x, 0.5) + std::max(x, -0.5); }),
       .samples = unary_samples()},
      {.name = "identity",
       .call = [](In in) { return identity(in[0]); },
       .reference = by_element([](double x) { return x; }),
       .samples = unary_samples()},
      {.name = "dropout",
       .variant = "in evaluation",
       .call = [](In in) { return dropout(in[0], 0.5, false); },
       .reference = by_element([](double x) { return x; }),
       .samples = unary_samples()},
      {.name = "dropout",
       .variant = "of everything",
       .call = [](In in) { return dropout(in[0], 1.0, true); },
       .reference = by_element([](double) { return 0.0; }),
       .samples = unary_samples()},
      // The mask of a seed is dropout(ones) with that seed.
      {.name = "dropout",
       .variant = "in training",
       .call =
           [](In in) {
             manual_seed(11);
             return dropout(in[0], 0.4, true);
           },
       .reference =
           [](In in) {
             manual_seed(11);
             const Tensor mask = dropout(ones(in[0].shape(), DType::float64), 0.4, true);
             return each(mask, in[0], [](double kept, double x) { return kept == 0 ? 0 : x / 0.6; });
           },
       .samples = unary_samples()},
  };
}

std::vector<OpCase> comparisons() {
  using T = const Tensor&;
  using In = const Tensors&;
  const auto test = [](const char* name, Function call, bool (*f)(double)) -> OpCase {
    std::vector<Tensors> samples = unary_samples();
    samples.push_back({tensor({1.0, std::nan(""), HUGE_VAL, -HUGE_VAL})});
    return {
        .name = name,
        .call = std::move(call),
        .reference = [f](In in) { return as_int64(each(in[0], [f](double x) { return f(x) ? 1.0 : 0.0; })); },
        .samples = samples,
        .differentiable = false};
  };
  return {
      comparison(
          "equal", [](T a, T b) { return equal(a, b); }, [](double a, double b) { return a == b; }),
      comparison(
          "not_equal", [](T a, T b) { return not_equal(a, b); }, [](double a, double b) { return a != b; }),
      comparison(
          "less", [](T a, T b) { return less(a, b); }, [](double a, double b) { return a < b; }),
      comparison(
          "less_equal", [](T a, T b) { return less_equal(a, b); }, [](double a, double b) { return a <= b; }),
      comparison(
          "greater", [](T a, T b) { return greater(a, b); }, [](double a, double b) { return a > b; }),
      comparison(
          "greater_equal", [](T a, T b) { return greater_equal(a, b); },
          [](double a, double b) { return a >= b; }),
      test(
          "isnan", [](In in) { return isnan(in[0]); }, [](double x) { return std::isnan(x); }),
      test(
          "isfinite", [](In in) { return isfinite(in[0]); }, [](double x) { return std::isfinite(x); }),
  };
}

}  // namespace

std::vector<OpCase> elementwise_cases() {
  std::vector<OpCase> rows = arithmetic();
  for (const auto& part : {functions(), comparisons()}) rows.insert(rows.end(), part.begin(), part.end());
  return rows;
}

}  // namespace retort::tests
