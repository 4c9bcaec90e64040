// The bridge to xtensor, for those who use it: not part of retort.hpp, so that nobody else pays for the include.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <vector>
#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>

#include "retort/framework/core/tensor.hpp"

namespace retort {

/// A tensor with the values of any xtensor expression; float and double elements stay, integers become int64.
template <class E>
Tensor from_xtensor(const xt::xexpression<E>& expression) {
  const E& source = expression.derived_cast();
  using Element = detail::Element<typename E::value_type>;
  Shape shape;
  for (const auto extent : source.shape()) shape.push_back(static_cast<std::int64_t>(extent));
  Array array(shape, dtype_of<Element>);
  const auto out = array.fill<Element>();
  // The layout is named: elements come in row-major order whatever the expression's own is.
  std::transform(source.template begin<xt::layout_type::row_major>(),
                 source.template end<xt::layout_type::row_major>(), out.begin(),
                 [](auto value) { return static_cast<Element>(value); });
  return Tensor(std::move(array));
}

namespace detail {
template <class T>
auto adapt_xtensor(const Tensor& tensor) {
  const std::vector<std::size_t> shape(tensor.shape().begin(), tensor.shape().end());
  const std::span<const T> values = tensor.data<T>();
  return xt::adapt(values.data(), values.size(), xt::no_ownership(), shape);
}
}  // namespace detail

template <class T>
auto Tensor::view() const {
  return detail::adapt_xtensor<T>(*this);
}

}  // namespace retort
