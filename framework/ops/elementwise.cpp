#include "retort/framework/ops/elementwise.hpp"

#include <array>
#include <cmath>
#include <numbers>

#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/elementwise_impl.hpp"
#include "retort/framework/ops/checks.hpp"

namespace retort {
namespace {

using kernels::Batch;

// ---- values: numbers without history --------------------------------------------------------------------

template <class F>
Tensor map(const Tensor& x, F f) {
  Array out(x.shape(), x.dtype());
  visit_dtype(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::map(x.data<T>().data(), out.fill<T>().data(), x.size(), f);
  });
  return Tensor(std::move(out));
}

// The same where f knows registers of float and double only.
template <class F>
Tensor map_floating(const Tensor& x, F f) {
  Array out(x.shape(), x.dtype());
  visit_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::map(x.data<T>().data(), out.fill<T>().data(), x.size(), f);
  });
  return Tensor(std::move(out));
}

// f on one element at a time, with a result of type `dtype`.
template <class U, class F>
Tensor map_elements(const Tensor& x, F f) {
  Array out(x.shape(), dtype_of<U>);
  visit_dtype(x.dtype(), [&](auto zero) {
    kernels::map_to(x.data<decltype(zero)>().data(), out.fill<U>().data(), x.size(), f);
  });
  return Tensor(std::move(out));
}

kernels::Broadcast plan_of(const Tensor& a, const Tensor& b, const Shape& shape) {
  if (a.shape() == b.shape()) return kernels::same_shape(a.size());
  return kernels::broadcast(a.shape().data(), static_cast<int>(a.shape().size()), b.shape().data(),
                            static_cast<int>(b.shape().size()), shape.data(), static_cast<int>(shape.size()));
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

template <class F>
Tensor zip(const Pair& pair, F f) {
  Array out(pair.shape, pair.a.dtype());
  const auto plan = plan_of(pair.a, pair.b, pair.shape);
  visit_dtype(pair.a.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::zip(pair.a.data<T>().data(), pair.b.data<T>().data(), out.fill<T>().data(), plan, f);
  });
  return Tensor(std::move(out));
}

template <class F>
Tensor compare(const char* operation, const Tensor& a, const Tensor& b, F f) {
  const Pair pair = pair_of(operation, a.detach(), b.detach());
  Array out(pair.shape, DType::int64);
  const auto plan = plan_of(pair.a, pair.b, pair.shape);
  visit_dtype(pair.a.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::compare(pair.a.data<T>().data(), pair.b.data<T>().data(), out.fill<std::int64_t>().data(), plan,
                     f);
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

// Φ(x), the standard normal distribution.
Tensor normal_cdf(const Tensor& x) {
  return record({.name = "gelu",
                 .inputs = {x},
                 .value = visit_floating(x.dtype(),
                                         [&](auto zero) {
                                           using T = decltype(zero);
                                           return map_elements<T>(x, [](auto v) {
                                             return static_cast<T>(
                                                 0.5 * std::erfc(-static_cast<T>(v) *
                                                                 static_cast<T>(1 / std::numbers::sqrt2)));
                                           });
                                         }),
                 .vjp = [x](const Tensor& g, Needs) {
                   return g * (exp(x * x * -0.5) * (0.5 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi));
                 }});
}

template <class Pow>
Tensor pow_elements(const Tensor& x, Pow pow_of) {
  return visit_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    return map_elements<T>(x, [&](auto v) { return static_cast<T>(pow_of(static_cast<T>(v))); });
  });
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
  return record({.name = "mul",
                 .inputs = {pair.a, pair.b},
                 .value = zip(pair, [](const auto& u, const auto& v) { return u * v; }),
                 .vjp = [x = saved_if(b.requires_grad(), pair.a), y = saved_if(a.requires_grad(), pair.b)](
                            const Tensor& g, Needs needs) {
                   return std::array<Tensor, 2>{needs[0] ? g * y : Tensor(), needs[1] ? g * x : Tensor()};
                 }});
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
  Array out(pair.shape, pair.a.dtype());
  const auto plan = plan_of(pair.a, pair.b, pair.shape);
  visit_floating(pair.a.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::zip(pair.a.data<T>().data(), pair.b.data<T>().data(), out.fill<T>().data(), plan,
                 [](const auto& u, const auto& v) { return u / v; });
  });
  return record({.name = "div",
                 .inputs = {pair.a, pair.b},
                 .value = Tensor(std::move(out)),
                 .vjp = [x = saved_if(b.requires_grad(), pair.a), y = pair.b](const Tensor& g, Needs needs) {
                   return std::array<Tensor, 2>{needs[0] ? g / y : Tensor(),
                                                needs[1] ? neg(g) * (x / y / y) : Tensor()};
                 }});
}

Tensor div(const Tensor& a, Scalar b) {
  const Tensor x = floating(a);
  const Scalar factor(1 / b.value());
  return record({.name = "div",
                 .inputs = {x},
                 .value = has_exact_reciprocal(b)
                              ? map_floating(x, [factor](const auto& v) { return v * constant(v, factor); })
                              : map_floating(x, [b](const auto& v) { return v / constant(v, b); }),
                 .vjp = [b](const Tensor& g, Needs) { return g / b; }});
}

Tensor div(Scalar a, const Tensor& b) {
  const Tensor x = floating(b);
  return record({.name = "div",
                 .inputs = {x},
                 .value = map_floating(x, [a](const auto& v) { return constant(v, a) / v; }),
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
                 .value = map_floating(x, [](const auto& v) { return kernels::exp(v); }),
                 .vjp = [](const Tensor& g, const Tensor& y, Needs) { return g * y; }});
}

Tensor log(const Tensor& input) {
  const Tensor x = floating(input);
  return record({.name = "log",
                 .inputs = {x},
                 .value = map_floating(x, [](const auto& v) { return kernels::log(v); }),
                 .vjp = [x](const Tensor& g, Needs) { return g / x; }});
}

Tensor tanh(const Tensor& input) {
  const Tensor x = floating(input);
  return record({.name = "tanh",
                 .inputs = {x},
                 .value = map_floating(x, [](const auto& v) { return xsimd::tanh(v); }),
                 .vjp = [](const Tensor& g, const Tensor& y, Needs) { return g * (1 - y * y); }});
}

Tensor sigmoid(const Tensor& input) {
  const Tensor x = floating(input);
  return record({.name = "sigmoid",
                 .inputs = {x},
                 .value = map_floating(x,
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
                 .value = map_floating(x, [](const auto& v) { return xsimd::sqrt(v); }),
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
  return record({.name = "relu",
                 .inputs = {x},
                 .value = map(x,
                              [](const auto& v) {
                                const auto zero = constant(v, 0);
                                return either(v <= zero, zero, v);  // written so that NaN passes
                              }),
                 .vjp =
                     [](const Tensor& g, const Tensor& y, Needs) {
                       return masked(g, map(y.detach(), [](const auto& v) {
                                       const auto zero = constant(v, 0);
                                       return either(v <= zero, zero, constant(v, 1));
                                     }));
                     },
                 .fast_vjp =
                     [](const Tensor& g, const Tensor& y, Needs) {
                       return zip({g, y, y.shape()}, [](const auto& value, const auto& v) {
                         const auto zero = constant(v, 0);
                         return either(v <= zero, zero, value);
                       });
                     }});
}

Tensor silu(const Tensor& input) {
  const Tensor x = floating(input);
  return record(
      {.name = "silu",
       .inputs = {x},
       .value = map_floating(x, [](const auto& v) { return v / (constant(v, 1) + kernels::exp(-v)); }),
       .vjp = [x](const Tensor& g, Needs) {
         const Tensor s = sigmoid(x);
         return g * (s * (1 + x * (1 - s)));
       }});
}

Tensor gelu(const Tensor& input, GeluApproximation approximate) {
  const Tensor x = floating(input);
  if (approximate == GeluApproximation::none) return x * normal_cdf(x);
  const double slope = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
  return 0.5 * x * (1 + tanh(slope * (x + 0.044715 * (x * x * x))));
}

Tensor pow(const Tensor& input, Scalar exponent) {
  const Tensor x = floating(input);
  const double s = exponent.value();
  const auto value = [&]() -> Tensor {
    if (s == 2) return map_floating(x, [](const auto& v) { return v * v; });
    if (s == 1) return map_floating(x, [](const auto& v) { return v; });
    if (s == 0.5) return map_floating(x, [](const auto& v) { return xsimd::sqrt(v); });
    return pow_elements(x, [s](auto v) { return std::pow(v, static_cast<decltype(v)>(s)); });
  };
  return record({.name = "pow", .inputs = {x}, .value = value(), .vjp = [x, s](const Tensor& g, Needs) {
                   return s == 0 ? zeros_like(g) : g * (s * pow(x, s - 1));
                 }});
}

Tensor pow(const Tensor& a, const Tensor& b) {
  Pair pair = pair_of("pow", a, b);
  pair.a = broadcast_to(floating(pair.a), pair.shape);
  pair.b = broadcast_to(floating(pair.b), pair.shape);
  const Tensor& x = pair.a;
  const Tensor& y = pair.b;
  Array out(pair.shape, x.dtype());
  visit_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* base = x.data<T>().data();
    const T* exponent = y.data<T>().data();
    T* power = out.fill<T>().data();
    parallel_for(out.size(), kernels::elementwise_grain / 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) power[i] = std::pow(base[i], exponent[i]);
    });
  });
  return record({.name = "pow",
                 .inputs = {x, y},
                 .value = Tensor(std::move(out)),
                 .vjp = [x, y](const Tensor& g, const Tensor& z, Needs needs) {
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

Tensor pow(Scalar base, const Tensor& exponent) {
  return pow(full({}, base, floating(exponent).dtype()), exponent);
}

Tensor clamp(const Tensor& input, std::optional<double> lo, std::optional<double> hi) {
  if (!lo && !hi) throw ValueError("clamp: give at least one bound");
  const auto integral = [](std::optional<double> bound) { return !bound || *bound == std::floor(*bound); };
  const Tensor x = integral(lo) && integral(hi) ? input : floating(input);
  return record({.name = "clamp",
                 .inputs = {x},
                 .value = map(x,
                              [lo, hi](auto v) {
                                if (lo) v = either(v < constant(v, *lo), constant(v, *lo), v);
                                if (hi) v = either(v > constant(v, *hi), constant(v, *hi), v);
                                return v;
                              }),
                 .vjp = [x = x.detach(), lo, hi](const Tensor& g, Needs) {
                   return masked(g, map(x, [lo, hi](const auto& v) {
                                   const auto zero = constant(v, 0);
                                   auto inside = constant(v, 1);
                                   if (lo) inside = either(v >= constant(v, *lo), inside, zero);
                                   if (hi) inside = either(v <= constant(v, *hi), inside, zero);
                                   return inside;
                                 }));
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
  const Tensor c = broadcast_to(condition, shape);
  const Tensor x = broadcast_to(pair.a.detach(), shape);
  const Tensor y = broadcast_to(pair.b.detach(), shape);
  Array out(shape, x.dtype());
  visit_dtype(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::choose(c.data<std::int64_t>().data(), x.data<T>().data(), y.data<T>().data(),
                    out.fill<T>().data(), out.size());
  });
  return record({.name = "where",
                 .inputs = {pair.a, pair.b},
                 .value = Tensor(std::move(out)),
                 .vjp = [c](const Tensor& g, Needs needs) {
                   return std::array<Tensor, 2>{needs[0] ? where(c, g, 0) : Tensor(),
                                                needs[1] ? where(c, 0, g) : Tensor()};
                 }});
}

Tensor where(const Tensor& condition, const Tensor& a, Scalar b) {
  return where(condition, a, scalar_beside(a, b));
}
Tensor where(const Tensor& condition, Scalar a, const Tensor& b) {
  return where(condition, scalar_beside(b, a), b);
}

// ---- comparisons ----------------------------------------------------------------------------------------

Tensor equal(const Tensor& a, const Tensor& b) {
  return compare("equal", a, b, [](auto u, auto v) { return u == v; });
}
Tensor equal(const Tensor& a, Scalar b) { return equal(a, scalar_beside(a, b)); }

Tensor not_equal(const Tensor& a, const Tensor& b) {
  return compare("not_equal", a, b, [](auto u, auto v) { return u != v; });
}
Tensor not_equal(const Tensor& a, Scalar b) { return not_equal(a, scalar_beside(a, b)); }

Tensor less(const Tensor& a, const Tensor& b) {
  return compare("less", a, b, [](auto u, auto v) { return u < v; });
}
Tensor less(const Tensor& a, Scalar b) { return less(a, scalar_beside(a, b)); }

Tensor less_equal(const Tensor& a, const Tensor& b) {
  return compare("less_equal", a, b, [](auto u, auto v) { return u <= v; });
}
Tensor less_equal(const Tensor& a, Scalar b) { return less_equal(a, scalar_beside(a, b)); }

Tensor greater(const Tensor& a, const Tensor& b) { return less(b, a); }
Tensor greater(const Tensor& a, Scalar b) { return less(scalar_beside(a, b), a); }
Tensor greater_equal(const Tensor& a, const Tensor& b) { return less_equal(b, a); }
Tensor greater_equal(const Tensor& a, Scalar b) { return less_equal(scalar_beside(a, b), a); }

Tensor isnan(const Tensor& x) {
  return map_elements<std::int64_t>(x, [](auto v) { return v != v; });
}

Tensor isfinite(const Tensor& x) {
  return map_elements<std::int64_t>(x, [](auto v) { return v - v == 0; });
}

}  // namespace retort
