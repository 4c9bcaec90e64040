// The members of Tensor, except for its operations. They depend on headers above tensor.hpp.
#include <mutex>

#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/node.hpp"

namespace retort {
namespace detail {

TensorImpl::~TensorImpl() = default;

Tensor Access::make(Array array, Ref<Node> node) {
  Tensor tensor;
  tensor.impl_ = Ref<TensorImpl>(new TensorImpl{{}, std::move(array), std::move(node)});
  return tensor;
}

Tensor Access::make(Array array) { return make(std::move(array), {}); }
void Access::set_node(const Tensor& tensor, Ref<Node> node) { tensor.impl_->node = std::move(node); }

void Access::replace_array(const Tensor& leaf, Array array) {
  const bool required = leaf.requires_grad();
  Access::array(leaf) = std::move(array);
  Access::array(leaf).stamp();
  if (!node(leaf)) return;
  set_node(leaf, {});
  leaf.set_requires_grad(required);
}

namespace {
Leaf* leaf_of(const Tensor& tensor) {
  return tensor.is_leaf() ? static_cast<Leaf*>(Access::node(tensor)) : nullptr;
}

// The old gradient is destroyed after the lock is released, since that may free a graph.
void replace_grad(Leaf& leaf, Tensor gradient) {
  const std::lock_guard lock(leaf.mutex);
  std::swap(leaf.grad, gradient);
}
}  // namespace
}  // namespace detail

using detail::Access, detail::leaf_of, detail::replace_grad;

void Tensor::undefined() {
  throw ValueError(
      "tensor: this tensor is undefined (default-constructed, or a gradient that was never computed)");
}

std::int64_t Tensor::size(std::int64_t d) const {
  const std::int64_t count = dim();
  if (d < -count || d >= count)
    throw IndexError(message("size: dimension {} is out of range for shape {}", d, shape()));
  return shape()[static_cast<std::size_t>(d < 0 ? d + count : d)];
}

void Tensor::check_single_element() const {
  if (size() != 1)
    throw ShapeError(
        message("item: shape {} has {} elements, not one; use values(), or reduce it", shape(), size()));
}

Tensor Tensor::detach() const { return Access::make(array()); }

bool Tensor::requires_grad() const noexcept {
  const detail::Node* node = Access::node(*this);
  return node && node->requires_grad;
}

bool Tensor::is_leaf() const noexcept {
  const detail::Node* node = Access::node(*this);
  return !node || node->kind == detail::Node::Kind::leaf;
}

Tensor Tensor::set_requires_grad(bool value) const {
  if (!is_leaf())
    throw GraphError(
        "set_requires_grad: the result of an operation always follows its inputs; detach() it first");
  if (value && !is_floating_point(dtype()))
    throw TypeError(
        message("set_requires_grad: a tensor of dtype {} has no gradient; convert it with to()", dtype()));
  if (detail::Leaf* leaf = leaf_of(*this)) {
    leaf->requires_grad = value;
  } else if (value) {
    Access::set_node(*this, detail::Ref<detail::Node>(new detail::Leaf(*this)));
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
  replace_grad(*leaf, gradient);
}

void Tensor::zero_grad() const {
  if (detail::Leaf* leaf = leaf_of(*this)) replace_grad(*leaf, {});
}

void Tensor::backward(const Tensor& given, BackwardOptions options) const {
  detail::backward(*this, given, options);
}

}  // namespace retort
