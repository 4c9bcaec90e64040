// Shared parts of the elementwise operations: values without history, and operands in their common type.
#pragma once

#include <type_traits>
#include <utility>

#include "retort/framework/core/op.hpp"
#include "retort/framework/kernels/elementwise_impl.hpp"
#include "retort/framework/ops/checks.hpp"
#include "retort/framework/ops/elementwise.hpp"

namespace retort::detail::elementwise {

using kernels::Batch;

enum class Elements { all, floats };

/// f of each element, called with registers for float types. With Elements::floats, int64 is not supported.
template <Elements elements = Elements::all, class F>
Tensor map(const Tensor& x, F f) {
  Array out(x.shape(), x.dtype());
  visit_dtype(x.dtype(), [&]<class T>(T) {
    if constexpr (elements == Elements::all || std::is_floating_point_v<T>)
      kernels::map(x.data<T>().data(), out.fill<T>().data(), x.size(), f);
  });
  return detail::Access::make(std::move(out));
}

/// f of each element, one at a time, with a result of type U.
template <class U, class F>
Tensor map_elements(const Tensor& x, F f) {
  Array out(x.shape(), dtype_of<U>);
  visit_dtype(x.dtype(),
              [&]<class T>(T) { kernels::map_to(x.data<T>().data(), out.fill<U>().data(), x.size(), f); });
  return detail::Access::make(std::move(out));
}

/// Both operands in their common type.
struct Pair {
  Tensor a, b;
  Shape shape;
  const char* operation;
};
inline Pair pair_of(const char* operation, const Tensor& a, const Tensor& b) {
  require_defined(operation, "the left input", a);
  require_defined(operation, "the right input", b);
  const DType dtype = promote(a.dtype(), b.dtype());
  return {a.to(dtype), b.to(dtype), broadcast_shapes(operation, a.shape(), b.shape()), operation};
}

template <Elements elements = Elements::all, class F>
Tensor zip(const Pair& pair, F f) {
  Array out(pair.shape, pair.a.dtype(), pair.operation);
  const kernels::Broadcast<2> plan({&pair.a.shape(), &pair.b.shape()}, pair.shape);
  visit_dtype(out.dtype(), [&]<class T>(T) {
    if constexpr (elements == Elements::all || std::is_floating_point_v<T>)
      kernels::zip(pair.a.data<T>().data(), pair.b.data<T>().data(), out.fill<T>().data(), plan, f);
  });
  return detail::Access::make(std::move(out));
}

/// int64 converted to float32, for functions defined on float types.
inline Tensor floating(const Tensor& x) { return is_floating_point(x.dtype()) ? x : x.to(DType::float32); }
inline Tensor floating(const char* operation, const Tensor& x) {
  require_defined(operation, x);
  return floating(x);
}

/// x in the result type of an expression with `s`.
inline Tensor with_scalar(const char* operation, const Tensor& x, Scalar s) {
  require_defined(operation, x);
  return s.integral() ? x : floating(x);
}
inline Tensor scalar_operand(const char* operation, const Tensor& x, Scalar s) {
  require_defined(operation, x);
  return full({}, s, s.integral() || is_floating_point(x.dtype()) ? x.dtype() : DType::float32);
}

/// A scalar as an operand for a register or an int64.
template <class T>
Batch<T> constant(const Batch<T>&, Scalar s) {
  return Batch<T>(s.as<T>());
}
inline std::int64_t constant(std::int64_t, Scalar s) { return s.as<std::int64_t>(); }

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

}  // namespace retort::detail::elementwise
