// The bridge to xtensor. Not part of retort.hpp, so that only programs that use xtensor compile its headers.
// The CMake target retort::xtensor provides the include path.
#pragma once

#include <cstddef>
#include <type_traits>
#include <vector>
#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>
#include <xtensor/xnoalias.hpp>

#include "retort/framework/core/factories.hpp"

namespace [[RETORT_EXPORT]] retort {

namespace detail {

template <class T>
auto adapt_elements(T* elements, const Shape& shape) {
  const std::vector<std::size_t> extents(shape.begin(), shape.end());
  return xt::adapt(elements, static_cast<std::size_t>(element_count(shape)), xt::no_ownership(), extents);
}

template <class T>
  requires std::is_arithmetic_v<T>
struct XtensorBridge<T> {
  static auto view(const Tensor& tensor) { return adapt_elements(tensor.data<T>().data(), tensor.shape()); }
};

}  // namespace detail

/// A read-only xtensor adaptor over the elements of `tensor`, without a copy: `tensor.view<T>()` as a free
/// function. It is valid while the tensor or a copy of its handle exists, so calls with a temporary do not
/// compile.
/// Throws: TypeError if T is not the element type.
template <class T>
[[nodiscard]] auto xtensor_view(const Tensor& tensor) {
  return detail::XtensorBridge<T>::view(tensor);
}
template <class T>
void xtensor_view(const Tensor&& tensor) = delete;

/// A tensor without history with the values of an xtensor expression, evaluated in one pass and stored in
/// row-major order whatever the layout of the expression. float and double elements keep their type (long
/// double becomes float64); integers and bool become int64.
template <class E>
[[nodiscard]] Tensor from_xtensor(const xt::xexpression<E>& expression) {
  static_assert(std::is_arithmetic_v<typename E::value_type>,
                "the elements of a tensor are real numbers or integers");
  using Element = detail::Element<typename E::value_type>;
  const E& source = expression.derived_cast();
  Shape shape;
  for (const auto extent : source.shape()) shape.push_back(static_cast<std::int64_t>(extent));
  const Tensor result = empty(shape, dtype_of<Element>);
  auto elements = detail::adapt_elements(result.mutable_data<Element>().data(), shape);
  xt::noalias(elements) = xt::cast<Element>(source);
  return result;
}

}  // namespace retort
