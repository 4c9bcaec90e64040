#include "retort/framework/ops/elementwise.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/op.hpp"
#include "retort/framework/fused.hpp"
#include "retort/framework/kernels/elementwise_impl.hpp"
#include "retort/framework/ops/checks.hpp"

namespace retort {
namespace {

using kernels::Batch;

// ---- values: numbers without history --------------------------------------------------------------------

enum class Elements { all, floats };

// f of each element: of registers for float types. With Elements::floats f does not take int64.
template <Elements elements = Elements::all, class F>
Tensor map(const Tensor& x, F f) {
  Array out(x.shape(), x.dtype());
  visit_dtype(x.dtype(), [&]<class T>(T) {
    if constexpr (elements == Elements::all || std::is_floating_point_v<T>)
      kernels::map(x.data<T>().data(), out.fill<T>().data(), x.size(), f);
  });
  return Tensor(std::move(out));
}

// f of one element at a time, with a result of type U.
template <class U, class F>
Tensor map_elements(const Tensor& x, F f) {
  Array out(x.shape(), dtype_of<U>);
  visit_dtype(x.dtype(),
              [&]<class T>(T) { kernels::map_to(x.data<T>().data(), out.fill<U>().data(), x.size(), f); });
  return Tensor(std::move(out));
}

// Both operands in the type that they promote to.
struct Pair {
  Tensor a, b;
  Shape shape;
};
Pair pair_of(const char* operation, const Tensor& a, const Tensor& b) {
  const DType dtype = promote(a.dtype(), b.dtype());
  return {a.to(dtype), b.to(dtype), detail::broadcast_shapes(operation, a.shape(), b.shape())};
}

template <Elements elements = Elements::all, class F>
Tensor zip(const Pair& pair, F f) {
  Array out(pair.shape, pair.a.dtype());
  const kernels::Broadcast<2> plan({&pair.a.shape(), &pair.b.shape()}, pair.shape);
  visit_dtype(out.dtype(), [&]<class T>(T) {
    if constexpr (elements == Elements::all || std::is_floating_point_v<T>)
      kernels::zip(pair.a.data<T>().data(), pair.b.data<T>().data(), out.fill<T>().data(), plan, f);
  });
  return Tensor(std::move(out));
}

template <class F>
Tensor compare(const char* operation, const Tensor& a, const Tensor& b, F f) {
  const Pair pair = pair_of(operation, a.detach(), b.detach());
  Array out(pair.shape, DType::int64);
  const kernels::Broadcast<2> plan({&pair.a.shape(), &pair.b.shape()}, pair.shape);
  visit_dtype(pair.a.dtype(), [&]<class T>(T) {
    kernels::zip(pair.a.data<T>().data(), pair.b.data<T>().data(), out.fill<std::int64_t>().data(), plan, f);
  });
  return Tensor(std::move(out));
}

// int64 as float32, for what is defined on float types.
Tensor floating(const Tensor& x) { return is_floating_point(x.dtype()) ? x : x.to(DType::float32); }

// x in the type that an expression with `s` has.
Tensor beside(const Tensor& x, Scalar s) { return s.integral() ? x : floating(x); }
Tensor scalar_beside(const Tensor& x, Scalar s) {
  return full({}, s, s.integral() || is_floating_point(x.dtype()) ? x.dtype() : DType::float32);
}

// A scalar beside a register or an int64.
template <class T>
Batch<T> constant(const Batch<T>&, Scalar s) {
  return Batch<T>(s.as<T>());
}
std::int64_t constant(std::int64_t, Scalar s) { return s.as<std::int64_t>(); }

template <class Condition>
auto both(const Condition& a, const Condition& b) {
  if constexpr (std::is_same_v<Condition, bool>) {
    return a && b;
  } else {
    return a & b;
  }
}

template <class T>
Batch<T> either(const kernels::Mask<T>& condition, const Batch<T>& yes, const Batch<T>& no) {
  return kernels::select(condition, yes, no);
}
template <class T>
T either(bool condition, T yes, T no) {
  return condition ? yes : no;
}

// What an input that needs no gradient would be saved for.
Tensor saved_if(bool wanted, const Tensor& x) { return wanted ? x : Tensor(); }

// g where open(v) holds, exactly 0 elsewhere: infinite and NaN gradients do not leak through. Linear
// in g, so that it is its own derivative.
template <class Open>
Tensor gate(const Tensor& g, const Tensor& v, Open open) {
  const auto pass = [open](const auto& value, const auto& at) {
    return either(open(at), value, constant(value, 0));
  };
  Tensor value = zip(pair_of("gate", g, v), pass);
  if (!is_grad_enabled()) return value;
  return record({.name = "gate",
                 .inputs = {g},
                 .value = std::move(value),
                 .vjp = [v = v.detach(), open](const Tensor& gg, Needs) { return gate(gg, v, open); }});
}

// g where the mask (numbers without history) is 1, g times it in between, exactly 0 where it is 0: infinite and NaN
// gradients do not leak through. Linear in g, so that it is its own derivative.
Tensor masked(const Tensor& g, const Tensor& mask) {
  const Pair pair = pair_of("masked", g, mask);
  return record({.name = "masked",
                 .inputs = {pair.a},
                 .value = zip(pair,
                              [](const auto& value, const auto& weight) {
                                const auto nothing = constant(weight, 0);
                                return either(weight == nothing, nothing, value * weight);
                              }),
                 .vjp = [mask](const Tensor& gg, Needs) { return masked(gg, mask); }});
}

// The weight of a in maximum or minimum, 1, 1/2 or 0; where either is NaN neither loses, and both count whole.
template <class Loses>
Tensor tie_weights(const Tensor& a, const Tensor& b, Loses loses) {
  return zip(pair_of("maximum", a.detach(), b.detach()), [loses](const auto& u, const auto& v) {
    const auto one = constant(u, 1);
    return either(u == v, one / constant(u, 2), either(loses(u, v), constant(u, 0), one));
  });
}

template <class Pick, class Loses>
Tensor extremum(const char* operation, const Tensor& a, const Tensor& b, Pick pick, Loses loses) {
  const Pair pair = pair_of(operation, a, b);
  return record({.name = operation,
                 .inputs = {pair.a, pair.b},
                 .value = zip(pair, pick),
                 .vjp = [a = pair.a, b = pair.b, loses](const Tensor& g, Needs needs) {
                   std::array<Tensor, 2> gradients;
                   if (needs[0]) gradients[0] = masked(g, tie_weights(a, b, loses));
                   if (needs[1]) gradients[1] = masked(g, tie_weights(b, a, loses));
                   return gradients;
                 }});
}

// (1 + tanh u)/2 is sigmoid(2u), which keeps its digits where it is small.
Tensor gelu_by_tanh(const Tensor& x) {
  const auto f = [](const auto& v) {
    constexpr double scale = 2 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
    const auto u = max(min(v, 30), -30);  // the sigmoid is 0 or 1 beyond, and u³ does not overflow
    return v * sigmoid(u * (scale + (scale * 0.044715) * (u * u)));
  };
  return fused("gelu", f, x);
}

// Whether y has one element for each row of x, so that x·y scales rows.
bool is_column_of(const Tensor& y, const Tensor& x) {
  if (!is_floating_point(x.dtype()) || x.dim() == 0 || x.dim() != y.dim() || x.size(-1) < 2) return false;
  return y.size(-1) == 1 && std::equal(x.shape().begin(), x.shape().end() - 1, y.shape().begin());
}

// The gradients of x·column in one visit; that of x is left out unless it is asked for.
std::array<Tensor, 2> scaled_gradients(const Tensor& x, const Tensor& column, const Tensor& g, bool with_x) {
  const std::array<Tensor, 2> out{with_x ? empty(x.shape(), x.dtype()) : Tensor(),
                                  empty(column.shape(), x.dtype())};
  compute_into(
      x.dtype(),
      [&](auto* dx, auto* d_column, auto* xs, auto* factors, auto* gs) {
        kernels::scale_rows_backward(xs, factors, gs, dx, d_column, column.size(), x.size(-1));
      },
      writable(out[0]), writable(out[1]), x, column, g);
  return out;
}

// std::pow of each lane.
template <class T>
Batch<T> pow_lanes(const Batch<T>& base, const Batch<T>& exponent) {
  alignas(64) std::array<T, kernels::lanes<T>> x, y;
  base.store_aligned(x.data());
  exponent.store_aligned(y.data());
  std::transform(x.begin(), x.end(), y.begin(), x.begin(), [](T a, T b) { return std::pow(a, b); });
  return Batch<T>::load_aligned(x.data());
}

template <class T, class F>
Batch<T> by_lane(const Batch<T>& v, F f) {
  alignas(64) std::array<T, kernels::lanes<T>> x;
  v.store_aligned(x.data());
  std::transform(x.begin(), x.end(), x.begin(), f);
  return Batch<T>::load_aligned(x.data());
}

// Exact powers of int64, modulo 2^64 like its products.
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
      return base;  // int64 alone comes here
    }
  });
}

// The input of clamp in the type of the result, and bounds of that type. An int64 tensor stays one unless a bound is a
// fraction or beyond what int64 holds on the side where it would be the result.
struct Bounded {
  Tensor x;
  Scalar low, high;
};
Bounded bounded(const Tensor& input, std::optional<double> lo, std::optional<double> hi) {
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

// Whether 1/b is exact, so that a product with it has the quotient's bits, in a quarter of the time: powers of two.
bool has_exact_reciprocal(Scalar b) {
  int exponent = 0;
  return std::fabs(std::frexp(b.value(), &exponent)) == 0.5 && std::abs(exponent) < 100;
}

}  // namespace

// ---- arithmetic -----------------------------------------------------------------------------------------

Tensor add(const Tensor& a, Scalar b) {
  const Tensor x = beside(a, b);
  return record({.name = "add",
                 .inputs = {x},
                 .value = map(x, [b](const auto& v) { return v + constant(v, b); }),
                 .vjp = [](const Tensor& g, Needs) { return g; }});
}

Tensor sub(const Tensor& a, const Tensor& b) {
  const Pair pair = pair_of("sub", a, b);
  return record({.name = "sub",
                 .inputs = {pair.a, pair.b},
                 .value = zip(pair, [](const auto& u, const auto& v) { return u - v; }),
                 .vjp = [](const Tensor& g, Needs needs) {
                   return std::array<Tensor, 2>{g, needs[1] ? neg(g) : Tensor()};
                 }});
}

Tensor sub(const Tensor& a, Scalar b) {
  const Tensor x = beside(a, b);
  return record({.name = "sub",
                 .inputs = {x},
                 .value = map(x, [b](const auto& v) { return v - constant(v, b); }),
                 .vjp = [](const Tensor& g, Needs) { return g; }});
}

Tensor sub(Scalar a, const Tensor& b) {
  const Tensor x = beside(b, a);
  return record({.name = "sub",
                 .inputs = {x},
                 .value = map(x, [a](const auto& v) { return constant(v, a) - v; }),
                 .vjp = [](const Tensor& g, Needs) { return neg(g); }});
}

Tensor mul(const Tensor& a, const Tensor& b) {
  const Pair pair = pair_of("mul", a, b);
  const Tensor x = saved_if(b.requires_grad(), pair.a), y = saved_if(a.requires_grad(), pair.b);
  const auto by_operations = [x, y](const Tensor& g, Needs needs) {
    return std::array<Tensor, 2>{needs[0] ? g * y : Tensor(), needs[1] ? g * x : Tensor()};
  };
  Op made{.name = "mul",
          .inputs = {pair.a, pair.b},
          .value = zip(pair, [](const auto& u, const auto& v) { return u * v; }),
          .vjp = by_operations};
  for (const bool first : {false, true}) {  // whether the column is the first operand
    const Tensor &whole = first ? pair.b : pair.a, &column = first ? pair.a : pair.b;
    if (column.requires_grad() && is_column_of(column, whole))
      made.fast_vjp = [whole = whole.detach(), column = column.detach(), first, by_operations](
                          const Tensor& g, Needs needs) -> std::array<Tensor, 2> {
        if (!needs[first ? 0 : 1]) return by_operations(g, needs);
        auto [d_whole, d_column] = scaled_gradients(whole, column, g, needs[first ? 1 : 0]);
        if (first) std::swap(d_whole, d_column);
        return {std::move(d_whole), std::move(d_column)};
      };
  }
  return record(std::move(made));
}

Tensor mul(const Tensor& a, Scalar b) {
  const Tensor x = beside(a, b);
  return record({.name = "mul",
                 .inputs = {x},
                 .value = map(x, [b](const auto& v) { return v * constant(v, b); }),
                 .vjp = [b](const Tensor& g, Needs) { return g * b; }});
}

Tensor div(const Tensor& a, const Tensor& b) {
  Pair pair = pair_of("div", a, b);
  pair.a = floating(pair.a);
  pair.b = floating(pair.b);
  return record({.name = "div",
                 .inputs = {pair.a, pair.b},
                 .value = zip(pair, [](const auto& u, const auto& v) { return u / v; }),
                 .vjp = [x = saved_if(b.requires_grad(), pair.a), y = pair.b](const Tensor& g, Needs needs) {
                   return std::array<Tensor, 2>{needs[0] ? g / y : Tensor(),
                                                needs[1] ? neg(g) * (x / y / y) : Tensor()};
                 }});
}

Tensor div(const Tensor& a, Scalar b) {
  const Tensor x = floating(a);
  const Scalar factor(1 / b.value());
  return record(
      {.name = "div",
       .inputs = {x},
       .value = has_exact_reciprocal(b)
                    ? map<Elements::floats>(x, [factor](const auto& v) { return v * constant(v, factor); })
                    : map<Elements::floats>(x, [b](const auto& v) { return v / constant(v, b); }),
       .vjp = [b](const Tensor& g, Needs) { return g / b; }});
}

Tensor div(Scalar a, const Tensor& b) {
  const Tensor x = floating(b);
  return record({.name = "div",
                 .inputs = {x},
                 .value = map<Elements::floats>(x, [a](const auto& v) { return constant(v, a) / v; }),
                 .vjp = [x, a](const Tensor& g, Needs) { return neg(g) * (a / x / x); }});
}

Tensor neg(const Tensor& x) {
  return record({.name = "neg",
                 .inputs = {x},
                 .value = map(x, [](const auto& v) { return -v; }),
                 .vjp = [](const Tensor& g, Needs) { return neg(g); }});
}

// ---- functions of one tensor ----------------------------------------------------------------------------

Tensor exp(const Tensor& input) {
  const Tensor x = floating(input);
  return record({.name = "exp",
                 .inputs = {x},
                 .value = map<Elements::floats>(x, [](const auto& v) { return kernels::exp(v); }),
                 .vjp = [](const Tensor& g, const Tensor& y, Needs) { return g * y; }});
}

Tensor log(const Tensor& input) {
  const Tensor x = floating(input);
  return record({.name = "log",
                 .inputs = {x},
                 .value = map<Elements::floats>(x, [](const auto& v) { return kernels::log(v); }),
                 .vjp = [x](const Tensor& g, Needs) { return g / x; }});
}

Tensor tanh(const Tensor& input) {
  const Tensor x = floating(input);
  return record({.name = "tanh",
                 .inputs = {x},
                 .value = map<Elements::floats>(
                     x,
                     []<class V>(const V& v) {
                       // xsimd converts a part of its argument to an integer: keep that in range.
                       const V most(typename V::value_type(20));  // the result is 1 from here on
                       const auto number = v == v;
                       const V bounded = kernels::max_of(-most, kernels::min_of(most, v));
                       return either(number, xsimd::tanh(either(number, bounded, most)), v);
                     }),
                 .vjp = [](const Tensor& g, const Tensor& y, Needs) { return g * (1 - y * y); }});
}

Tensor sigmoid(const Tensor& input) {
  const Tensor x = floating(input);
  return record({.name = "sigmoid",
                 .inputs = {x},
                 .value = map<Elements::floats>(x,
                                                [](const auto& v) {
                                                  const auto one = constant(v, 1);
                                                  return one / (one + kernels::exp(-v));
                                                }),
                 .vjp = [](const Tensor& g, const Tensor& y, Needs) { return g * (y * (1 - y)); }});
}

Tensor sqrt(const Tensor& input) {
  const Tensor x = floating(input);
  return record({.name = "sqrt",
                 .inputs = {x},
                 .value = map<Elements::floats>(x, [](const auto& v) { return xsimd::sqrt(v); }),
                 .vjp = [](const Tensor& g, const Tensor& y, Needs) { return g / (y * 2); }});
}

Tensor abs(const Tensor& x) {
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
  const auto positive = [](const auto& v) { return !(v <= constant(v, 0)); };  // written so that NaN passes
  return record({.name = "relu",
                 .inputs = {x},
                 .value = map(x, [=](const auto& v) { return either(positive(v), v, constant(v, 0)); }),
                 .vjp = [=](const Tensor& g, const Tensor& y, Needs) { return gate(g, y, positive); }});
}

Tensor silu(const Tensor& x) {
  return fused(
      "silu", [](const auto& v) { return v * sigmoid(v); }, x);
}

Tensor gelu(const Tensor& x, GeluApproximation approximate) {
  if (approximate == GeluApproximation::tanh) return gelu_by_tanh(x);
  return fused(
      "gelu", [](const auto& v) { return v * (0.5 * erfc(v * (-0.5 * std::numbers::sqrt2))); }, x);
}

Tensor softplus(const Tensor& x, SoftplusOptions options) {
  const auto f = [options](const auto& v) {
    const auto scaled = options.beta * v;
    const auto linear = scaled > options.threshold;
    return where(linear, v, log1p(exp(where(linear, 0, scaled))) / options.beta);
  };
  return fused("softplus", f, x);
}

Tensor elu(const Tensor& x, double alpha) {
  return fused(
      "elu", [alpha](const auto& v) { return where(v > 0, v, alpha * expm1(where(v > 0, 0, v))); }, x);
}

Tensor leaky_relu(const Tensor& x, double slope) {
  return fused(
      "leaky_relu", [slope](const auto& v) { return where(v > 0, v, slope * v); }, x);
}

Tensor logaddexp(const Tensor& a, const Tensor& b) {
  const auto f = [](const auto& u, const auto& v) {
    const auto above = u > v, equal_infinities = (u == v) & (u - u != 0);
    const auto distance = where(equal_infinities, 0, where(above, v - u, u - v));
    return where(above, u, v) + where(equal_infinities, 0, log1p(exp(distance)));
  };
  return fused("logaddexp", f, a, b);
}

Tensor sin(const Tensor& input) {
  const Tensor x = floating(input);
  return record({.name = "sin",
                 .inputs = {x},
                 .value = map<Elements::floats>(
                     x, [](const auto& v) { return by_lane(v, [](auto a) { return std::sin(a); }); }),
                 .vjp = [x](const Tensor& g, Needs) { return g * cos(x); }});
}
Tensor cos(const Tensor& input) {
  const Tensor x = floating(input);
  return record({.name = "cos",
                 .inputs = {x},
                 .value = map<Elements::floats>(
                     x, [](const auto& v) { return by_lane(v, [](auto a) { return std::cos(a); }); }),
                 .vjp = [x](const Tensor& g, Needs) { return neg(g) * sin(x); }});
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
         if (needs[0]) gradients[0] = where(equal(y, 0), 0, g * (y * pow(x, y - 1)));
         if (needs[1]) {
           // At x = 0 with y >= 0 the power is flat in y; log 0 must not reach it.
           const Tensor flat = mul(equal(x, 0), greater_equal(y, 0));
           gradients[1] = where(flat, 0, g * (z * log(where(flat, 1, x))));
         }
         return gradients;
       }});
}

Tensor pow(Scalar base, const Tensor& exponent) { return pow(scalar_beside(exponent, base), exponent); }

Tensor clamp(const Tensor& input, std::optional<double> lo, std::optional<double> hi) {
  const auto [x, low, high] = bounded(input, lo, hi);
  const auto rising = [low = low](const auto& v) { return v >= constant(v, low); };
  const auto falling = [high = high](const auto& v) { return v <= constant(v, high); };
  const auto value = [=, low = low, high = high](const auto& v) {  // NaN passes, and a bound of NaN wins
    const auto above = either(rising(v), v, either(v == v, constant(v, low), v));
    return either(falling(above), above, either(above == above, constant(v, high), above));
  };
  return record({.name = "clamp",
                 .inputs = {x},
                 .value = map(x, value),
                 .vjp = [=, x = x.detach()](const Tensor& g, Needs) {
                   return gate(g, x, [=](const auto& v) { return both(rising(v), falling(v)); });
                 }});
}

// ---- choices --------------------------------------------------------------------------------------------

Tensor maximum(const Tensor& a, const Tensor& b) {
  return extremum(
      "maximum", a, b, [](const auto& u, const auto& v) { return either(u > v, u, either(u == u, v, u)); },
      [](const auto& u, const auto& v) { return u < v; });
}

Tensor minimum(const Tensor& a, const Tensor& b) {
  return extremum(
      "minimum", a, b, [](const auto& u, const auto& v) { return either(u < v, u, either(u == u, v, u)); },
      [](const auto& u, const auto& v) { return u > v; });
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  detail::require_int64("where", "condition", condition);
  const Pair pair = pair_of("where", a, b);
  const Shape shape = detail::broadcast_shapes("where", condition.shape(), pair.shape);
  const kernels::Broadcast<3> plan({&condition.shape(), &a.shape(), &b.shape()}, shape);
  const auto by_operations = [condition](const Tensor& g, Needs needs) {
    return std::array<Tensor, 2>{needs[0] ? where(condition, g, 0) : Tensor(),
                                 needs[1] ? where(condition, 0, g) : Tensor()};
  };
  Array out(shape, pair.a.dtype());
  visit_dtype(out.dtype(), [&]<class T>(T) {
    kernels::choose(condition.data<std::int64_t>().data(), pair.a.data<T>().data(), pair.b.data<T>().data(),
                    out.fill<T>().data(), plan);
  });
  return record({.name = "where",
                 .inputs = {pair.a, pair.b},
                 .value = Tensor(std::move(out)),
                 .vjp = by_operations,
                 .fast_vjp = [condition, by_operations](const Tensor& g, Needs needs) {
                   if (condition.shape() != g.shape()) return by_operations(g, needs);
                   std::array<Tensor, 2> gradients;
                   for (std::size_t i = 0; i < 2; ++i)
                     if (needs[i]) gradients[i] = empty(g.shape(), g.dtype());
                   compute_into(
                       g.dtype(),
                       [&](auto* yes, auto* no, auto* from) {
                         kernels::split_by(condition.data<std::int64_t>().data(), from, yes, no, g.size());
                       },
                       writable(gradients[0]), writable(gradients[1]), g);
                   return gradients;
                 }});
}

Tensor where(const Tensor& condition, const Tensor& a, Scalar b) {
  return where(condition, a, scalar_beside(a, b));
}
Tensor where(const Tensor& condition, Scalar a, const Tensor& b) {
  return where(condition, scalar_beside(b, a), b);
}

// ---- comparisons ----------------------------------------------------------------------------------------

Tensor equal(const Tensor& a, const Tensor& b) { return compare("equal", a, b, std::equal_to<>()); }
Tensor equal(const Tensor& a, Scalar b) { return equal(a, scalar_beside(a, b)); }
Tensor not_equal(const Tensor& a, const Tensor& b) {
  return compare("not_equal", a, b, std::not_equal_to<>());
}
Tensor not_equal(const Tensor& a, Scalar b) { return not_equal(a, scalar_beside(a, b)); }
Tensor less(const Tensor& a, const Tensor& b) { return compare("less", a, b, std::less<>()); }
Tensor less(const Tensor& a, Scalar b) { return less(a, scalar_beside(a, b)); }
Tensor less_equal(const Tensor& a, const Tensor& b) {
  return compare("less_equal", a, b, std::less_equal<>());
}
Tensor less_equal(const Tensor& a, Scalar b) { return less_equal(a, scalar_beside(a, b)); }
Tensor greater(const Tensor& a, const Tensor& b) { return compare("greater", a, b, std::greater<>()); }
Tensor greater(const Tensor& a, Scalar b) { return greater(a, scalar_beside(a, b)); }
Tensor greater_equal(const Tensor& a, const Tensor& b) {
  return compare("greater_equal", a, b, std::greater_equal<>());
}
Tensor greater_equal(const Tensor& a, Scalar b) { return greater_equal(a, scalar_beside(a, b)); }

Tensor isnan(const Tensor& x) {
  return map_elements<std::int64_t>(x, [](auto v) { return v != v; });
}

Tensor isfinite(const Tensor& x) {
  return map_elements<std::int64_t>(x, [](auto v) { return v - v == 0; });
}

}  // namespace retort
