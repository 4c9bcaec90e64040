#include "retort/framework/core/engine_ops.hpp"

#include <array>

#include "retort/framework/base/thread_state.hpp"
#include "retort/framework/core/array_ops.hpp"
#include "retort/framework/core/record.hpp"
#include "retort/framework/core/require.hpp"

namespace retort {
using detail::Access;

namespace {
// An operation whose rule returns the gradient of its result; the engine reduces and converts it to x's.
Tensor passing(const char* name, const Tensor& x, Array value) {
  return record({.name = name,
                 .inputs = {x},
                 .value = Access::make(std::move(value)),
                 .vjp = [](const Tensor& g, Needs) { return g; }});
}
}  // namespace

Tensor Tensor::to(DType dtype) const {
  detail::require_defined("to", *this);
  return this->dtype() == dtype ? *this : passing("to", *this, detail::converted(array(), dtype));
}

Tensor Tensor::clone() const {
  detail::require_defined("clone", *this);
  return passing("clone", *this, detail::copied(array()));
}

Tensor add(const Tensor& a, const Tensor& b) {
  detail::require_defined("add", "the left input", a);
  detail::require_defined("add", "the right input", b);
  const DType dtype = promote(a.dtype(), b.dtype());
  const Tensor x = a.to(dtype), y = b.to(dtype);
  return record({.name = "add",
                 .inputs = {x, y},
                 .value = Access::make(detail::added("add", Access::array(x), Access::array(y))),
                 .vjp = [](const Tensor& g, Needs) {
                   return std::array<Tensor, 2>{g, g};
                 }});
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  detail::require_defined("sum_to", x);
  if (x.shape() == shape) return x;
  if (!detail::broadcasts(shape, x.shape()))
    throw ShapeError(message("sum_to: shape {} does not broadcast to the input's {}", shape, x.shape()));
  return record({.name = "sum_to",
                 .inputs = {x},
                 .value = Access::make(detail::summed_to(Access::array(x), shape)),
                 .vjp = [from = x.shape()](const Tensor& g, Needs) { return broadcast_to(g, from); }});
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
  detail::require_defined("broadcast_to", x);
  if (x.shape() == shape) return x;
  if (!detail::broadcasts(x.shape(), shape))
    throw ShapeError(message("broadcast_to: shape {} does not broadcast to {}", x.shape(), shape));
  detail::require_shape("broadcast_to", shape);
  return passing("broadcast_to", x, detail::repeated_to(Access::array(x), shape));
}

Tensor identity(const Tensor& x) {
  detail::require_defined("identity", x);
  return passing("identity", x, Access::array(x));
}

Tensor detail::gathered_gradient(std::size_t i, const Shape& shape, DType dtype) {
  Tensor* const slot = thread_state.mode.gathered ? thread_state.mode.gathered[i] : nullptr;
  if (slot && Access::unique(*slot) && slot->shape() == shape && slot->dtype() == dtype)
    return std::move(*slot);
  return {};
}

}  // namespace retort
