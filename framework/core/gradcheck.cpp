#include "retort/framework/core/gradcheck.hpp"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <utility>

#include "retort/framework/base/options.hpp"
#include "retort/framework/base/random.hpp"
#include "retort/framework/base/scoped.hpp"
#include "retort/framework/base/thread_state.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/core/require.hpp"

namespace retort {
namespace {

double dot(const Tensor& a, const Tensor& b) {
  const auto x = a.data<double>();
  const auto y = b.data<double>();
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

// A fixed seed gives reproducible results and leaves the default generator unchanged.
Tensor fixed_cotangent(const Tensor& like, std::uint64_t seed) {
  Generator generator(seed);
  return randn(like.shape(), DType::float64, generator);
}

// f(inputs), which must have the shape of `v`, the cotangent of an earlier result, if that is defined.
Tensor evaluate(const char* caller, const DifferentiableFunction& f, const Tensors& inputs,
                const Tensor& v = {}) {
  Tensor y = f(inputs);
  if (!y.defined()) throw ValueError(message("{}: the function returned an undefined tensor", caller));
  if (y.dtype() != DType::float64)
    throw TypeError(message("{}: the function returned {}; it must return float64", caller, y.dtype()));
  if (v.defined() && y.shape() != v.shape())
    throw ShapeError(
        message("{}: the function returned shape {}, and before that {}; it must be deterministic", caller,
                y.shape(), v.shape()));
  return y;
}

// The inputs to check: those given if one requires a gradient, otherwise copies that all do.
Tensors prepared(const char* caller, const Tensors& inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    detail::require_defined(caller, message("input {}", i).c_str(), inputs[i]);
    if (is_floating_point(inputs[i].dtype()) && inputs[i].dtype() != DType::float64)
      throw TypeError(message("{}: input {} is {}; differences need float64, convert it with to()", caller, i,
                              inputs[i].dtype()));
  }
  if (std::ranges::none_of(inputs, [](const Tensor& x) { return is_floating_point(x.dtype()); }))
    throw ValueError(message("{}: no input is float64, so there is nothing to check", caller));
  if (std::any_of(inputs.begin(), inputs.end(), [](const Tensor& x) { return x.requires_grad(); }))
    return inputs;
  Tensors copies;
  for (const Tensor& x : inputs)
    copies.push_back(is_floating_point(x.dtype()) ? x.clone().set_requires_grad() : x);
  return copies;
}

std::vector<std::size_t> wanted_positions(const Tensors& inputs) {
  std::vector<std::size_t> positions;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].requires_grad()) positions.push_back(i);
  return positions;
}

Tensors chosen(const Tensors& inputs, const std::vector<std::size_t>& positions) {
  Tensors subset;
  for (const std::size_t i : positions) subset.push_back(inputs[i]);
  return subset;
}

bool close(double analytic, double numeric, const GradcheckOptions& options) {
  return std::abs(analytic - numeric) <= options.atol + options.rtol * std::abs(numeric);
}

// Central difference of sum(f · v) in one element, which is restored.
double difference(const char* caller, const DifferentiableFunction& f, const Tensors& inputs, const Tensor& v,
                  std::size_t input, std::size_t element, double eps) {
  const double value = inputs[input].data<double>()[element];
  const auto at = [&](double x) {
    inputs[input].mutable_data<double>()[element] = x;
    return dot(evaluate(caller, f, inputs, v), v);
  };
  double result = 0;
  try {
    const double above = at(value + eps);
    result = (above - at(value - eps)) / (2 * eps);
  } catch (...) {
    inputs[input].mutable_data<double>()[element] = value;
    throw;
  }
  inputs[input].mutable_data<double>()[element] = value;
  return result;
}

double element(const Tensor& gradient, Index i) {
  return gradient.defined() ? gradient.data<double>()[static_cast<std::size_t>(i)] : 0.0;
}

// The gradients of sum(y · v) with y = f(inputs), by the plain rules or, where available, the fast ones.
Tensors gradients(const DifferentiableFunction& f, const char* caller, const Tensors& inputs,
                  const std::vector<std::size_t>& positions, Tensor& v, bool plain) {
  const GradMode recording(true);
  const Tensor y = evaluate(caller, f, inputs, v);
  if (!v.defined()) v = fixed_cotangent(y, 1);
  if (!y.requires_grad()) return Tensors(positions.size());
  const detail::Scoped rules(detail::thread_state.plain_rules, plain);
  return grad({y}, chosen(inputs, positions), {.grad_outputs = {v}, .allow_unused = true});
}

// Checks the inputs, of which the caller gave the first `given`. One more is gradgradcheck's cotangent.
GradcheckReport check(const char* caller, const DifferentiableFunction& f, const Tensors& inputs,
                      std::size_t given, const GradcheckOptions& options) {
  const std::vector<std::size_t> positions = wanted_positions(inputs);
  Tensor v;
  const Tensors fast = gradients(f, caller, inputs, positions, v, false);
  const Tensors plain = gradients(f, caller, inputs, positions, v, true);
  const NoGradGuard guard;
  for (std::size_t k = 0; k < positions.size(); ++k) {
    const std::size_t input = positions[k];
    for (std::size_t i = 0; i < static_cast<std::size_t>(inputs[input].size()); ++i) {
      const double n = difference(caller, f, inputs, v, input, i, options.eps);
      const double by_fast = element(fast[k], static_cast<Index>(i));
      const double by_plain = element(plain[k], static_cast<Index>(i));
      const bool fast_holds = close(by_fast, n, options), plain_holds = close(by_plain, n, options);
      if (fast_holds && plain_holds) continue;
      const double a = fast_holds ? by_plain : by_fast;
      const char* rules = fast_holds    ? ".vjp rules"
                          : plain_holds ? ".fast_vjp rules"
                                        : "rules, .vjp as well as .fast_vjp";
      return {false,
              static_cast<Index>(input),
              static_cast<Index>(i),
              a,
              n,
              message("{}: {}, element {}: analytic {} (by the {}), numeric {}", caller,
                      input < given ? message("input {}", input) : "the cotangent", i, a, rules, n)};
    }
  }
  return {};
}

void check_options(const char* caller, const DifferentiableFunction& f, const GradcheckOptions& options) {
  if (!f) throw ValueError(message("{}: the function is empty", caller));
  detail::require_option(options.eps > 0 && std::isfinite(options.eps), caller, "eps", options.eps,
                         "positive and finite");
  detail::require_at_least_0(caller, "atol", options.atol);
  detail::require_at_least_0(caller, "rtol", options.rtol);
}

}  // namespace

GradcheckReport gradcheck(const DifferentiableFunction& f, const Tensors& inputs, GradcheckOptions options) {
  check_options("gradcheck", f, options);
  return check("gradcheck", f, prepared("gradcheck", inputs), inputs.size(), options);
}

GradcheckReport gradgradcheck(const DifferentiableFunction& f, const Tensors& given,
                              GradcheckOptions options) {
  check_options("gradgradcheck", f, options);
  const Tensors inputs = prepared("gradgradcheck", given);
  const std::vector<std::size_t> positions = wanted_positions(inputs);
  // The gradients differentiated below are those of the plain rules, which must equal those of the fast
  // rules.
  Tensor v;
  const Tensors fast = gradients(f, "gradgradcheck", inputs, positions, v, false);
  const Tensors plain = gradients(f, "gradgradcheck", inputs, positions, v, true);
  for (std::size_t k = 0; k < positions.size(); ++k)
    for (Index i = 0; i < inputs[positions[k]].size(); ++i) {
      const double a = element(plain[k], i), n = element(fast[k], i);
      if (!close(a, n, options))
        return {false,
                static_cast<Index>(positions[k]),
                i,
                a,
                n,
                message("gradgradcheck: input {}, element {}: the .vjp rules give {}, the .fast_vjp rules {}",
                        positions[k], i, a, n)};
    }
  // The function whose gradients are checked: all first gradients for a cotangent, in a fixed random
  // direction.
  Tensors arguments = inputs;
  {
    const NoGradGuard guard;
    arguments.push_back(fixed_cotangent(evaluate("gradgradcheck", f, inputs, v), 2).set_requires_grad());
  }
  Tensors directions;
  for (const std::size_t i : positions)
    directions.push_back(fixed_cotangent(inputs[i], 3 + directions.size()));
  const auto directed = [&](const Tensors& current) {
    const GradMode recording(true);
    const Tensors x(current.begin(), current.end() - 1);
    const Tensor y = evaluate("gradgradcheck", f, x, current.back());
    if (!y.requires_grad()) return zeros({}, DType::float64);
    const Tensors first =
        grad({y}, chosen(x, positions),
             {.grad_outputs = {current.back()}, .create_graph = true, .allow_unused = true});
    // Their sum weighted by fixed numbers, as one op: its gradients are the weights.
    Tensors parts;
    Tensors weights;
    double value = 0;
    for (std::size_t k = 0; k < first.size(); ++k) {
      if (!first[k].defined()) continue;
      parts.push_back(first[k]);
      weights.push_back(directions[k]);
      value += dot(parts.back(), weights.back());
    }
    Tensor total = zeros({}, DType::float64);
    total.mutable_data<double>()[0] = value;
    return record(
        {.name = "directed", .inputs = parts, .value = total, .fast_vjp = [weights](const Tensor& g, Needs) {
           Tensors gradients;
           for (const Tensor& weight : weights) {
             Tensor scaled = weight.clone();
             for (double& element : scaled.mutable_data<double>()) element *= g.item<double>();
             gradients.push_back(scaled);
           }
           return gradients;
         }});
  };
  return check("gradgradcheck", directed, arguments, inputs.size(), options);
}

std::ostream& operator<<(std::ostream& stream, const GradcheckReport& report) {
  return stream << (report.passed ? "passed" : report.what);
}

}  // namespace retort
