#include "retort/framework/ops/elementwise.hpp"

#include <array>
#include <cmath>
#include <functional>

#include "retort/framework/core/compute.hpp"
#include "retort/framework/ops/elementwise_impl.hpp"

namespace retort {
using namespace detail::elementwise;

namespace {

template <class F>
Tensor compare(const char* operation, const Tensor& a, const Tensor& b, F f) {
  const NoGradGuard guard;
  const Pair pair = pair_of(operation, a, b);
  Array out(pair.shape, DType::int64, operation);
  const kernels::Broadcast<2> plan({&pair.a.shape(), &pair.b.shape()}, pair.shape);
  visit_dtype(pair.a.dtype(), [&]<class T>(T) {
    kernels::zip(pair.a.data<T>().data(), pair.b.data<T>().data(), out.fill<std::int64_t>().data(), plan, f);
  });
  return detail::Access::make(std::move(out));
}

// x if the other operand's gradient needs it, otherwise undefined.
Tensor saved_if(bool wanted, const Tensor& x) { return wanted ? x : Tensor(); }

// g where the mask (without history) is 1, g times the mask for values in between, and exactly 0 where it is
// 0: infinite and NaN gradients do not leak through. Linear in g, so that it is its own derivative.
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

// The weight of a in maximum or minimum: 1, 1/2 or 0. If either is NaN, both have weight 1.
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

// True for powers of two: 1/b is exact, so that multiplying by it gives the quotient's bits in a quarter of
// the time.
bool has_exact_reciprocal(Scalar b) {
  int exponent = 0;
  return std::fabs(std::frexp(b.value(), &exponent)) == 0.5 && std::abs(exponent) < 100;
}

// True if y has one element per row of x, so that x·y scales rows.
bool is_column_of(const Tensor& y, const Tensor& x) {
  if (!is_floating_point(x.dtype()) || x.dim() == 0 || x.dim() != y.dim() || x.size(-1) < 2) return false;
  return y.size(-1) == 1 && std::equal(x.shape().begin(), x.shape().end() - 1, y.shape().begin());
}

// The gradients of x·column in one pass; that of x only if `with_x`.
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

}  // namespace

// ---- arithmetic -----------------------------------------------------------------------------------------

Tensor add(const Tensor& a, Scalar b) {
  const Tensor x = with_scalar("add", a, b);
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
  const Tensor x = with_scalar("sub", a, b);
  return record({.name = "sub",
                 .inputs = {x},
                 .value = map(x, [b](const auto& v) { return v - constant(v, b); }),
                 .vjp = [](const Tensor& g, Needs) { return g; }});
}

Tensor sub(Scalar a, const Tensor& b) {
  const Tensor x = with_scalar("sub", b, a);
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
  for (const bool first : {false, true}) {  // true if the column is the first operand
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
  const Tensor x = with_scalar("mul", a, b);
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
  const Tensor x = floating("div", a);
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
  const Tensor x = floating("div", b);
  return record({.name = "div",
                 .inputs = {x},
                 .value = map<Elements::floats>(x, [a](const auto& v) { return constant(v, a) / v; }),
                 .vjp = [x, a](const Tensor& g, Needs) { return neg(g) * (a / x / x); }});
}

Tensor neg(const Tensor& x) {
  detail::require_defined("neg", x);
  return record({.name = "neg",
                 .inputs = {x},
                 .value = map(x, [](const auto& v) { return -v; }),
                 .vjp = [](const Tensor& g, Needs) { return neg(g); }});
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
  Array out(shape, pair.a.dtype(), "where"), zeros;  // bits, from which backward reads the condition
  if (is_grad_enabled() && (a.requires_grad() || b.requires_grad()) && condition.shape() == shape)
    zeros = Array({(out.size() + 63) / 64}, DType::int64, "where");
  visit_dtype(out.dtype(), [&]<class T>(T) {
    kernels::choose(condition.data<std::int64_t>().data(), pair.a.data<T>().data(), pair.b.data<T>().data(),
                    out.fill<T>().data(), plan,
                    zeros.defined() ? static_cast<std::uint64_t*>(zeros.write()) : nullptr);
  });
  return record({.name = "where",
                 .inputs = {pair.a, pair.b},
                 .value = detail::Access::make(std::move(out)),
                 .vjp = by_operations,
                 .fast_vjp = [zeros, by_operations](const Tensor& g, Needs needs) {
                   if (!zeros.defined()) return by_operations(g, needs);
                   std::array<Tensor, 2> gradients;
                   for (std::size_t i = 0; i < 2; ++i)
                     if (needs[i]) gradients[i] = empty(g.shape(), g.dtype());
                   compute_into(
                       g.dtype(),
                       [&](auto* yes, auto* no, auto* from) {
                         kernels::split_by(static_cast<const std::uint64_t*>(zeros.read()), from, yes, no,
                                           g.size());
                       },
                       writable(gradients[0]), writable(gradients[1]), g);
                   return gradients;
                 }});
}

Tensor where(const Tensor& condition, const Tensor& a, Scalar b) {
  return where(condition, a, scalar_operand("where", a, b));
}
Tensor where(const Tensor& condition, Scalar a, const Tensor& b) {
  return where(condition, scalar_operand("where", b, a), b);
}

// ---- comparisons ----------------------------------------------------------------------------------------

Tensor equal(const Tensor& a, const Tensor& b) { return compare("equal", a, b, std::equal_to<>()); }
Tensor equal(const Tensor& a, Scalar b) { return equal(a, scalar_operand("equal", a, b)); }
Tensor not_equal(const Tensor& a, const Tensor& b) {
  return compare("not_equal", a, b, std::not_equal_to<>());
}
Tensor not_equal(const Tensor& a, Scalar b) { return not_equal(a, scalar_operand("not_equal", a, b)); }
Tensor less(const Tensor& a, const Tensor& b) { return compare("less", a, b, std::less<>()); }
Tensor less(const Tensor& a, Scalar b) { return less(a, scalar_operand("less", a, b)); }
Tensor less_equal(const Tensor& a, const Tensor& b) {
  return compare("less_equal", a, b, std::less_equal<>());
}
Tensor less_equal(const Tensor& a, Scalar b) { return less_equal(a, scalar_operand("less_equal", a, b)); }
Tensor greater(const Tensor& a, const Tensor& b) { return compare("greater", a, b, std::greater<>()); }
Tensor greater(const Tensor& a, Scalar b) { return greater(a, scalar_operand("greater", a, b)); }
Tensor greater_equal(const Tensor& a, const Tensor& b) {
  return compare("greater_equal", a, b, std::greater_equal<>());
}
Tensor greater_equal(const Tensor& a, Scalar b) {
  return greater_equal(a, scalar_operand("greater_equal", a, b));
}

Tensor isnan(const Tensor& x) {
  detail::require_defined("isnan", x);
  return map_elements<std::int64_t>(x, [](auto v) { return v != v; });
}

Tensor isfinite(const Tensor& x) {
  detail::require_defined("isfinite", x);
  return map_elements<std::int64_t>(x, [](auto v) { return v - v == 0; });
}

}  // namespace retort
