#include "retort/framework/core/tensor.hpp"

#include <cstring>
#include <mutex>
#include <new>

#include "retort/framework/base/pool.hpp"
#include "retort/framework/core/compute.hpp"
#include "retort/framework/core/engine_ops.hpp"
#include "retort/framework/core/node.hpp"

namespace retort {
namespace detail {

TensorImpl::TensorImpl(Array values, Ref<Node> history) noexcept
    : array(std::move(values)), node(std::move(history)) {}
TensorImpl::~TensorImpl() = default;

void destroy(TensorImpl* impl) noexcept {
  impl->~TensorImpl();
  pool_free(impl, sizeof(TensorImpl));
}

namespace {

Ref<TensorImpl> make_impl(Array array, Ref<Node> node) {
  return Ref<TensorImpl>(new (pool_allocate(sizeof(TensorImpl)))
                             TensorImpl(std::move(array), std::move(node)));
}

Leaf* leaf_of(const Tensor& tensor) {
  Node* node = tensor.node();
  return node && node->leaf ? static_cast<Leaf*>(node) : nullptr;
}

// The old gradient goes after the lock, since a graph may go with it.
void replace_grad(Leaf& leaf, Tensor gradient) {
  const std::lock_guard lock(leaf.mutex);
  std::swap(leaf.grad, gradient);
}

}  // namespace

Tensor connect(Array array, Ref<Node> node) { return Tensor(std::move(array), std::move(node)); }

void check_value_count(std::size_t count, const Shape& shape) {
  if (static_cast<std::int64_t>(count) != element_count(shape))
    throw ShapeError(message("tensor: {} values do not fill shape {}, which has {} elements", count, shape,
                             element_count(shape)));
}

void require_floating_dtype(const char* operation, DType dtype) {
  if (!is_floating_point(dtype))
    throw TypeError(message("{}: the element type is {}; it must be float32 or float64", operation, dtype));
}

}  // namespace detail

using detail::leaf_of;

Tensor::Tensor(Array array) : impl_(detail::make_impl(std::move(array), {})) {}
Tensor::Tensor(Array array, detail::Ref<detail::Node> node)
    : impl_(detail::make_impl(std::move(array), std::move(node))) {}

void Tensor::undefined() {
  throw ValueError("tensor: this tensor is undefined (default-constructed, or a gradient that never came)");
}

bool Tensor::unique() const noexcept { return impl_ && impl_->unique() && impl_->array.unique(); }

void Tensor::replace_array(Array array) const {
  mutable_array() = std::move(array);
  impl_->array.stamp();
  // A gradient, if there is one, is of the old type: the leaf starts anew under the same handles.
  if (const detail::Leaf* leaf = leaf_of(*this)) {
    const bool wanted = leaf->wants_grad;
    impl_->node = {};
    set_requires_grad(wanted);
  }
}

std::int64_t Tensor::size(std::int64_t d) const {
  const std::int64_t count = dim();
  if (d < -count || d >= count)
    throw IndexError(message("size: dimension {} is out of range for shape {}", d, shape()));
  return shape()[static_cast<std::size_t>(d < 0 ? d + count : d)];
}

void Tensor::check_single_element() const {
  if (size() != 1) throw ShapeError(message("item: shape {} has {} elements, not one", shape(), size()));
}

Tensor Tensor::detach() const { return Tensor(array()); }

Tensor Tensor::clone() const {
  Array copy(shape(), dtype());
  std::memcpy(copy.write(), array().read(), copy.byte_size());
  return record({.name = "clone",
                 .inputs = {*this},
                 .value = Tensor(std::move(copy)),
                 .vjp = [](const Tensor& g, Needs) { return g; }});
}

bool Tensor::requires_grad() const noexcept {
  const detail::Node* node = this->node();
  return node && (!node->leaf || static_cast<const detail::Leaf*>(node)->wants_grad);
}

bool Tensor::is_leaf() const noexcept {
  const detail::Node* node = this->node();
  return !node || node->leaf;
}

Tensor Tensor::set_requires_grad(bool value) const {
  if (!is_leaf())
    throw GraphError(
        "set_requires_grad: the result of an operation always follows its inputs; detach() it first");
  if (value && !is_floating_point(dtype()))
    throw TypeError(message("set_requires_grad: a {} tensor has no gradient; convert with to()", dtype()));
  if (detail::Leaf* leaf = leaf_of(*this)) {
    leaf->wants_grad = value;
  } else if (value) {
    impl_->node = detail::make_leaf(*this);
  }
  return *this;
}

Tensor Tensor::grad() const {
  detail::Leaf* leaf = leaf_of(*this);
  if (!leaf) return {};
  const std::lock_guard lock(leaf->mutex);
  return leaf->grad;
}

void Tensor::set_grad(const Tensor& gradient) const {
  detail::Leaf* leaf = leaf_of(*this);
  if (!leaf) throw GraphError("set_grad: only a leaf that requires a gradient holds one");
  if (gradient.defined() && gradient.shape() != shape())
    throw ShapeError(
        message("set_grad: the gradient has shape {} but the tensor {}", gradient.shape(), shape()));
  if (gradient.defined() && gradient.dtype() != dtype())
    throw TypeError(message("set_grad: the gradient is {} but the tensor {}", gradient.dtype(), dtype()));
  detail::replace_grad(*leaf, gradient);
}

void Tensor::zero_grad() const {
  if (detail::Leaf* leaf = leaf_of(*this)) detail::replace_grad(*leaf, {});
}

}  // namespace retort
