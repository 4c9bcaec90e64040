// Functions of one tensor, powers and clamp.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "retort/framework/base/options.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/fused.hpp"
#include "retort/framework/ops/elementwise_impl.hpp"
#include "retort/framework/ops/shape_ops.hpp"

namespace retort {
using namespace detail::elementwise;

namespace {

// pass(g, v), which is g or exactly 0 by v: infinite and NaN gradients do not leak through. Linear in g, so
// that it is its own derivative.
template <class Pass>
Tensor gate(const Tensor& g, const Tensor& v, Pass pass) {
  Tensor value = zip(pair_of("gate", g, v), pass);
  if (!is_grad_enabled()) return value;
  return record({.name = "gate",
                 .inputs = {g},
                 .value = std::move(value),
                 .vjp = [v = v.detach(), pass](const Tensor& gg, Needs) { return gate(gg, v, pass); }});
}

// v·(1 + tanh(z/2))/2 = v·sigmoid(z) with z = v·(a + b·v²), which keeps its precision where it is small.
Tensor gelu_by_tanh(const Tensor& input) {
  constexpr double a = 2 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi, b = 0.044715 * a;
  // Beyond these bounds the sigmoid is 0 or 1, and v³ could overflow.
  const auto bounded = [](const auto& v) { return where(v > 30, 30, where(v < -30, -30, v)); };
  const auto value = [bounded](const auto& v) {
    const auto u = bounded(v);
    return v * sigmoid(u * (a + b * (u * u)));
  };
  // The derivative is written out, since that of the bounds would cost as much as the rest. For large z,
  // 1 - sigmoid(z) loses its precision, and e^(-z)·sigmoid(z) does not. Derivatives of higher order use a
  // second sigmoid instead, which costs twice as much.
  const auto slope = [bounded](const auto& g, const auto& v, const auto& sigmoids) {
    const auto u = bounded(v), square = u * u;
    const auto [s, rest] = sigmoids(u * (a + b * square));
    return g * (s + s * rest * (u * (a + (3 * b) * square)));
  };
  const auto fast = [slope](const auto& g, const auto& v) {
    return slope(g, v, [](const auto& z) {
      const auto e = exp(-z), s = 1 / (1 + e);
      return std::pair(s, where(z > 0, e * s, 1 - s));
    });
  };
  const auto exact = [slope](const auto& g, const auto& v) {
    return slope(g, v, [](const auto& z) { return std::pair(sigmoid(z), sigmoid(-z)); });
  };
  const Tensor x = floating("gelu", input);
  return record({.name = "gelu",
                 .inputs = {x},
                 .value = detail::Fused<decltype(value), 1>(value, {x.detach()}).value("gelu"),
                 .vjp = [x, exact](const Tensor& g, Needs) { return fused("gelu backward", exact, g, x); },
                 .fast_vjp =
                     [x = x.detach(), fast](const Tensor& g, Needs) {
                       return detail::Fused<decltype(fast), 2>(fast, {g, x}).value("gelu backward");
                     }});
}

// f of the registers of fused operations.
template <class F, class T, class... More>
Batch<T> in_registers(const F& f, const Batch<T>& v, const More&... more) {
  using R = lanes::Register<T, static_cast<int>(sizeof(Batch<T>))>;
  const auto moved = [](const Batch<T>& from) {
    alignas(64) std::array<T, kernels::lanes<T>> x;
    from.store_aligned(x.data());
    return R::load(x.data());
  };
  alignas(64) std::array<T, kernels::lanes<T>> y;
  f(moved(v), moved(more)...).store(y.data());
  return Batch<T>::load_aligned(y.data());
}

// std::pow per lane.
template <class T>
Batch<T> pow_lanes(const Batch<T>& base, const Batch<T>& exponent) {
  return in_registers([](const auto& x, const auto& y) { return pow(x, y); }, base, exponent);
}

// Exact powers of int64, modulo 2^64 as its products.
Tensor int64_pow(const Tensor& a, const Tensor& b) {
  for (const std::int64_t exponent : b.data<std::int64_t>())
    if (exponent < 0)
      throw ValueError(
          message("pow: int64 to the power of {} is a fraction; convert the base to a float type", exponent));
  return zip(pair_of("pow", a, b), [](auto base, auto exponent) {
    if constexpr (std::is_same_v<decltype(base), std::int64_t>) {
      std::uint64_t power = 1, square = static_cast<std::uint64_t>(base);
      for (auto rest = static_cast<std::uint64_t>(exponent); rest > 0; rest >>= 1, square *= square)
        if (rest & 1) power *= square;
      return static_cast<std::int64_t>(power);
    } else {
      return base;  // int64
    }
  });
}

// The input of clamp in the type of the result, with bounds of that type. An int64 tensor stays int64 unless
// a bound is a fraction, or is out of the range of int64 and could be the result.
struct Bounded {
  Tensor x;
  Scalar low, high;
};
Bounded bounded(const Tensor& input, std::optional<double> lo, std::optional<double> hi) {
  detail::require_defined("clamp", input);
  if (!lo && !hi) throw ValueError("clamp: give at least one bound");
  constexpr double inf = std::numeric_limits<double>::infinity(), beyond_int64 = 0x1p63;
  const double low = lo.value_or(-inf), high = hi.value_or(inf);
  if (input.dtype() != DType::int64) return {input, low, high};
  if (std::isnan(low) || std::isnan(high)) throw ValueError("clamp: a bound of an int64 tensor is NaN");
  const auto integral = [](double bound) { return bound == std::floor(bound); };
  if (!integral(low) || !integral(high) || low >= beyond_int64 || high < -beyond_int64)
    return {floating(input), low, high};
  using Limits = std::numeric_limits<std::int64_t>;
  return {input, low < -beyond_int64 ? Scalar(Limits::min()) : Scalar(static_cast<std::int64_t>(low)),
          high >= beyond_int64 ? Scalar(Limits::max()) : Scalar(static_cast<std::int64_t>(high))};
}

// v within the bound, else the bound. NaN propagates, and a NaN bound gives NaN.
template <class V>
V at_least(const V& v, Scalar low) {
  return either(v >= constant(v, low), v, either(v == v, constant(v, low), v));
}
template <class V>
V at_most(const V& v, Scalar high) {
  return either(v <= constant(v, high), v, either(v == v, constant(v, high), v));
}

}  // namespace

Tensor exp(const Tensor& input) {
  const Tensor x = floating("exp", input);
  return record({.name = "exp",
                 .inputs = {x},
                 .value = map<Elements::floats>(x, kernels::Each{[](auto& v) { kernels::exp_each(v); }}),
                 .vjp = [](const Tensor& g, const Tensor& y, Needs) { return g * y; }});
}

Tensor log(const Tensor& input) {
  const Tensor x = floating("log", input);
  return record({.name = "log",
                 .inputs = {x},
                 .value = map<Elements::floats>(x, kernels::Each{[](auto& v) { kernels::log_each(v); }}),
                 .vjp = [x](const Tensor& g, Needs) { return g / x; }});
}

Tensor tanh(const Tensor& input) {
  const Tensor x = floating("tanh", input);
  return record({.name = "tanh",
                 .inputs = {x},
                 .value = map<Elements::floats>(
                     x, [](const auto& v) { return in_registers([](const auto& r) { return tanh(r); }, v); }),
                 .vjp = [](const Tensor& g, const Tensor& y, Needs) { return g * (1 - y * y); },
                 .fast_vjp =
                     [](const Tensor& g, const Tensor& y, Needs) {
                       return zip<Elements::floats>(pair_of("tanh", g, y), [](const auto& u, const auto& v) {
                         return u * (constant(v, 1) - v * v);
                       });
                     }});
}

Tensor sigmoid(const Tensor& input) {
  const Tensor x = floating("sigmoid", input);
  return record({.name = "sigmoid",
                 .inputs = {x},
                 .value = map<Elements::floats>(x, kernels::Each{[](auto& each) {
                                                  for (auto& v : each) v = -v;
                                                  kernels::exp_each(each);
                                                  for (auto& v : each)
                                                    v = constant(v, 1) / (constant(v, 1) + v);
                                                }}),
                 .vjp = [](const Tensor& g, const Tensor& y, Needs) { return g * (y * (1 - y)); },
                 .fast_vjp =
                     [](const Tensor& g, const Tensor& y, Needs) {
                       return zip<Elements::floats>(
                           pair_of("sigmoid", g, y),
                           [](const auto& u, const auto& v) { return u * (v * (constant(v, 1) - v)); });
                     }});
}

Tensor sqrt(const Tensor& input) {
  const Tensor x = floating("sqrt", input);
  return record({.name = "sqrt",
                 .inputs = {x},
                 .value = map<Elements::floats>(x, [](const auto& v) { return xsimd::sqrt(v); }),
                 .vjp = [](const Tensor& g, const Tensor& y, Needs) { return g / (y * 2); }});
}

Tensor abs(const Tensor& x) {
  detail::require_defined("abs", x);
  const auto magnitude = [](const auto& v) { return either(v < constant(v, 0), -v, v + constant(v, 0)); };
  return record({.name = "abs",
                 .inputs = {x},
                 .value = map(x, magnitude),
                 .vjp = [x = x.detach()](const Tensor& g, Needs) {
                   return g * map(x, [](const auto& v) {
                            const auto zero = constant(v, 0);
                            return either(v > zero, constant(v, 1), either(v < zero, constant(v, -1), zero));
                          });
                 }});
}

Tensor relu(const Tensor& x) {
  detail::require_defined("relu", x);
  const auto pass = [](const auto& g, const auto& v) {  // a NaN v passes
    return either(v <= constant(v, 0), constant(g, 0), g);
  };
  return record({.name = "relu",
                 .inputs = {x},
                 .value = map(x, [](const auto& v) { return either(v < constant(v, 0), constant(v, 0), v); }),
                 .vjp = [=](const Tensor& g, const Tensor& y, Needs) { return gate(g, y, pass); }});
}

Tensor silu(const Tensor& x) {
  return fused(
      "silu", [](const auto& v) { return v * sigmoid(v); }, x);
}

Tensor relu6(const Tensor& x) {
  detail::require_defined("relu6", x);
  if (x.dtype() == DType::int64) return clamp(x, 0, 6);
  return fused(
      "relu6", [](const auto& v) { return where(v <= 0, 0, where(v >= 6, 6, v)); }, x);
}

Tensor hardsigmoid(const Tensor& x) {
  const auto f = [](const auto& v) {  // NaN is a constant here, so that its gradient is 0
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    return where(v <= -3, 0, where(v >= 3, 1, where(v < 3, (v + 3) / 6, nan)));
  };
  return fused("hardsigmoid", f, x);
}

Tensor hardswish(const Tensor& x) {
  return fused(
      "hardswish", [](const auto& v) { return where(v <= -3, 0, where(v >= 3, v, v * (v + 3) / 6)); }, x);
}

Tensor prelu(const Tensor& x, const Tensor& weight) {
  detail::require_defined("prelu", x);
  detail::require_defined("prelu", "weight", weight);
  const bool fits = weight.dim() == 1 && (weight.size() == 1 || (x.dim() > 1 && weight.size() == x.size(1)));
  if (!fits)
    throw ShapeError(
        message("prelu: the input has shape {} and the weight {}; the weight must have shape (1), or (C) for "
                "an input of shape (N, C, ...)",
                x.shape(), weight.shape()));
  Shape shape(static_cast<std::size_t>(std::max<std::int64_t>(x.dim() - 1, 0)), 1);
  if (!shape.empty()) shape[0] = weight.size();
  return fused(
      "prelu", [](const auto& v, const auto& slope) { return where(v > 0, v, slope * v); }, x,
      reshape(weight, shape));
}

Tensor gelu(const Tensor& x, GeluApproximation approximate) {
  if (approximate == GeluApproximation::tanh) return gelu_by_tanh(x);
  return fused(
      "gelu", [](const auto& v) { return v * (0.5 * erfc(v * (-0.5 * std::numbers::sqrt2))); }, x);
}

Tensor softplus(const Tensor& x, SoftplusOptions options) {
  detail::require_positive("softplus", "beta", options.beta);
  detail::require_option(!std::isnan(options.threshold), "softplus", "threshold", options.threshold,
                         "a number");
  const auto f = [options](const auto& v) {
    const auto scaled = options.beta * v;
    const auto linear = scaled > options.threshold;
    return where(linear, v, log1p(exp(where(linear, 0, scaled))) / options.beta);
  };
  return fused("softplus", f, x);
}

Tensor elu(const Tensor& x, double alpha) {
  detail::require_finite("elu", "alpha", alpha);
  return fused(
      "elu", [alpha](const auto& v) { return where(v > 0, v, alpha * expm1(where(v > 0, 0, v))); }, x);
}

Tensor leaky_relu(const Tensor& x, double slope) {
  detail::require_finite("leaky_relu", "slope", slope);
  return fused(
      "leaky_relu", [slope](const auto& v) { return where(v > 0, v, slope * v); }, x);
}

Tensor logaddexp(const Tensor& a, const Tensor& b) {
  const auto f = [](const auto& u, const auto& v) {
    const auto above = u > v, equal_infinities = (u == v) & (u - u != 0);
    const auto distance = where(equal_infinities, 0, where(above, v - u, u - v));
    // Equal arguments share the gradient.
    return where(equal_infinities, 0.5 * u + 0.5 * v, where(above, u, v)) +
           where(equal_infinities, 0, log1p(exp(distance)));
  };
  return fused("logaddexp", f, a, b);
}

Tensor sin(const Tensor& x) {
  return fused(
      "sin", [](const auto& v) { return sin(v); }, x);
}
Tensor cos(const Tensor& x) {
  return fused(
      "cos", [](const auto& v) { return cos(v); }, x);
}

Tensor erf(const Tensor& x) {
  return fused(
      "erf", [](const auto& v) { return erf(v); }, x);
}
Tensor erfc(const Tensor& x) {
  return fused(
      "erfc", [](const auto& v) { return erfc(v); }, x);
}
Tensor log1p(const Tensor& x) {
  return fused(
      "log1p", [](const auto& v) { return log1p(v); }, x);
}
Tensor expm1(const Tensor& x) {
  return fused(
      "expm1", [](const auto& v) { return expm1(v); }, x);
}

Tensor pow(const Tensor& input, Scalar exponent) {
  detail::require_defined("pow", input);
  const double s = exponent.value();
  if (input.dtype() == DType::int64 && exponent.integral())
    return int64_pow(input, full({}, exponent, DType::int64));
  const Tensor x = floating(input);
  const auto raised = [](const auto& v, double power) {
    if (power == 2) return v * v;
    if (power == 3) return v * v * v;
    if (power == 4) return (v * v) * (v * v);
    if (power == 1) return v;
    if (power == 0.5) return xsimd::sqrt(v);
    if (power == -0.5) return 1 / xsimd::sqrt(v);
    if (power == -1) return 1 / v;
    if (power == -2) return 1 / (v * v);
    return pow_lanes(v, constant(v, power));
  };
  return record(
      {.name = "pow",
       .inputs = {x},
       .value = map<Elements::floats>(x, [=](const auto& v) { return raised(v, s); }),
       .vjp = [x, s](const Tensor& g, Needs) { return s == 0 ? zeros_like(g) : g * (s * pow(x, s - 1)); },
       .fast_vjp =
           [x = x.detach(), s, raised](const Tensor& g, Needs) {
             if (s == 0) return zeros_like(g);
             return zip<Elements::floats>(pair_of("pow", g, x), [=](const auto& u, const auto& v) {
               return u * (constant(v, s) * raised(v, s - 1));
             });
           }});
}

Tensor pow(const Tensor& a, const Tensor& b) {
  const Pair pair = pair_of("pow", a, b);
  if (pair.a.dtype() == DType::int64) return int64_pow(pair.a, pair.b);
  return record(
      {.name = "pow",
       .inputs = {pair.a, pair.b},
       .value = zip<Elements::floats>(pair, [](const auto& u, const auto& v) { return pow_lanes(u, v); }),
       .vjp = [x = pair.a, y = pair.b](const Tensor& g, const Tensor& z, Needs needs) {
         std::array<Tensor, 2> gradients;
         if (needs[0]) {
           // At y = 0 the slope in x is 0, even where x^(y - 1) or g is not finite; its derivative in y is
           // 1/x elsewhere.
           const Tensor ordinary = mul(isfinite(div(1, x.detach())), isfinite(g));
           const Tensor flat = mul(equal(y, 0), equal(ordinary, 0));
           gradients[0] = where(flat, 0, g * (y * pow(where(flat, 1, x), y - 1)));
         }
         if (needs[1]) {
           // At x = 0 with y >= 0 the power is constant in y; log 0 must not enter.
           const Tensor flat = mul(equal(x, 0), greater_equal(y, 0));
           gradients[1] = where(flat, 0, g * (z * log(where(flat, 1, x))));
         }
         return gradients;
       }});
}

Tensor pow(Scalar base, const Tensor& exponent) {
  return pow(scalar_operand("pow", exponent, base), exponent);
}

Tensor clamp(const Tensor& input, std::optional<double> lo, std::optional<double> hi) {
  const auto [x, low, high] = bounded(input, lo, hi);
  const auto value = [low = low, high = high](const auto& v) { return at_most(at_least(v, low), high); };
  const auto pass = [low = low, high = high](const auto& g, const auto& v) {
    return either(both(v >= constant(v, low), v <= constant(v, high)), g, constant(g, 0));
  };
  return record({.name = "clamp",
                 .inputs = {x},
                 .value = map(x, value),
                 .vjp = [=, x = x.detach()](const Tensor& g, Needs) { return gate(g, x, pass); }});
}

}  // namespace retort
