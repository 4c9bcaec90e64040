#include "framework/ops/references.hpp"

#include <xtensor/xmanipulation.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xstrides.hpp>
#include <xtensor/xvectorize.hpp>
#include <xtensor/xview.hpp>

#include "retort/framework/xtensor.hpp"

namespace retort::tests {
namespace {

using Array = xt::xarray<double>;

Array array(const Tensor& x) {
  return visit_dtype(x.dtype(), [&]<class T>(T) { return Array(xt::cast<double>(xtensor_view<T>(x))); });
}

Array reshaped(Array x, const Shape& shape) {
  x.reshape(std::vector<std::size_t>(shape.begin(), shape.end()));
  return x;
}

Doubles doubles(const Array& x) { return {x.begin(), x.end()}; }

}  // namespace

void for_each_index(const Shape& shape, const std::function<void(const Index&)>& visit) {
  const std::vector<std::size_t> extents(shape.begin(), shape.end());
  for (std::size_t n = 0; n < static_cast<std::size_t>(element_count(shape)); ++n) {
    const auto index = xt::unravel_index(n, extents);
    visit(Index(index.begin(), index.end()));
  }
}

double at(const Tensor& x, const Index& index) {
  return visit_dtype(x.dtype(), [&]<class T>(T) {
    return static_cast<double>(xtensor_view<T>(x).element(index.begin(), index.end()));
  });
}

Tensor build(const Shape& shape, const std::function<double(const Index&)>& f) {
  Array out(std::vector<std::size_t>(shape.begin(), shape.end()));
  for_each_index(shape, [&](const Index& index) { out.element(index.begin(), index.end()) = f(index); });
  return from_xtensor(out);
}

Tensor as_int64(const Tensor& x) { return from_xtensor(xt::cast<std::int64_t>(array(x))); }

Tensor shaped(const Tensor& x, const Shape& shape) { return from_xtensor(reshaped(array(x), shape)); }

Shape broadcast(const Shape& a, const Shape& b) {
  Index result(std::max(a.size(), b.size()), 1);
  xt::broadcast_shape(Index(a.begin(), a.end()), result);
  xt::broadcast_shape(Index(b.begin(), b.end()), result);
  return Shape(result);
}

std::size_t wrapped(std::int64_t dim, const Shape& shape) { return xt::normalize_axis(shape.size(), dim); }

Tensor each(const Tensor& x, const std::function<double(double)>& f) {
  return from_xtensor(xt::make_lambda_xfunction(f, array(x)));
}

Tensor each(const Tensor& a, const Tensor& b, const std::function<double(double, double)>& f) {
  return from_xtensor(xt::make_lambda_xfunction(f, array(a), array(b)));
}

Tensor reduced(const Tensor& x, const Index& dims, bool keepdim,
               const std::function<double(const Doubles&)>& f) {
  const Shape& shape = x.shape();
  std::vector<bool> gone(shape.size(), dims.empty());
  for (const std::int64_t dim : dims) gone[wrapped(dim, shape)] = true;
  Shape result;
  std::vector<std::size_t> order;  // kept dimensions, then reduced ones
  std::int64_t count = 1;
  for (const bool last : {false, true})
    for (std::size_t d = 0; d < shape.size(); ++d)
      if (gone[d] == last) order.push_back(d);
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (keepdim || !gone[d]) result.push_back(gone[d] ? 1 : shape[d]);
    if (gone[d]) count *= shape[d];
  }
  Array elements = shape.empty() ? array(x) : Array(xt::transpose(array(x), order));
  elements = reshaped(elements, {element_count(result), count});
  Doubles values;
  for (std::int64_t row = 0; row < element_count(result); ++row)
    values.push_back(f(doubles(xt::view(elements, row, xt::all()))));
  return tensor(values, result);
}

Tensor along(const Tensor& x, std::int64_t dim, const std::function<Doubles(const Doubles&)>& f) {
  if (x.dim() == 0) return tensor(f(x.values<double>()), {});
  if (x.size() == 0) return x;
  const std::size_t d = wrapped(dim, x.shape()), last = x.shape().size() - 1;
  std::vector<std::size_t> order(last + 1);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::swap(order[d], order[last]);
  Array turned = xt::transpose(array(x), order);
  const auto shape = turned.shape();
  turned = reshaped(turned, {x.size() / x.shape()[d], x.shape()[d]});
  for (std::size_t row = 0; row < turned.shape(0); ++row)
    xt::view(turned, row, xt::all()) = xt::adapt(f(doubles(xt::view(turned, row, xt::all()))));
  turned.reshape(shape);
  return from_xtensor(xt::transpose(turned, order));
}

double largest(const Doubles& x) { return x.empty() ? -INFINITY : xt::amax(xt::adapt(x))(); }
double total(const Doubles& x) { return std::accumulate(x.begin(), x.end(), 0.0); }

double log_sum_exp(const Doubles& x) {
  const double most = largest(x);
  return std::isinf(most) ? most : most + std::log(xt::sum(xt::exp(xt::adapt(x) - most))());
}
Doubles log_softmax_of(const Doubles& x) { return doubles(xt::adapt(x) - log_sum_exp(x)); }
Doubles softmax_of(const Doubles& x) { return doubles(xt::exp(xt::adapt(x) - log_sum_exp(x))); }

Tensor matrix_product(const Tensor& left, const Tensor& right) {
  Shape a = left.shape(), b = right.shape();
  if (left.dim() == 1) a.insert(a.begin(), 1);
  if (right.dim() == 1) b.push_back(1);
  // [..., m, k, 1] times [..., 1, k, n], summed over k.
  a.push_back(1);
  b.insert(b.end() - 2, 1);
  const Shape product = broadcast(a, b);
  Array result = xt::sum(reshaped(array(left), a) * reshaped(array(right), b), {product.size() - 2});
  Shape shape = product;
  shape.erase(shape.end() - 2);
  if (right.dim() == 1) shape.erase(shape.end() - 1);
  if (left.dim() == 1) shape.erase(shape.end() - (right.dim() == 1 ? 1 : 2));
  return from_xtensor(reshaped(result, shape));
}

}  // namespace retort::tests
