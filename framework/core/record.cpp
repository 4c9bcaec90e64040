#include "retort/framework/core/record.hpp"

#include <algorithm>

#include "retort/framework/core/grad_mode.hpp"
#include "retort/framework/core/node.hpp"

namespace retort {
using detail::Access, detail::Node, detail::Operation, detail::Ref;

namespace {

bool is_differentiable(const Tensor& value) { return value.defined() && is_floating_point(value.dtype()); }

Tensor without_history(Tensor&& value) {
  return value.defined() && Access::node(value) ? value.detach() : std::move(value);
}

// Returns true if an operation with these inputs is recorded, which requires a rule.
template <class AnyOp>
bool is_recorded(const AnyOp& op) {
  if (!is_grad_enabled()) return false;
  bool required = false;
  for (std::size_t i = 0; i < op.inputs.size(); ++i) required |= op.inputs[i].requires_grad();
  if (required && !op.vjp && !op.fast_vjp)
    throw GraphError(
        message("{}: an input requires a gradient but the operation has no rule; give it a .vjp, or "
                "detach() the input",
                op.name));
  return required;
}

}  // namespace

Tensor record(Op op) {
  if (!op.value.defined()) throw ValueError(message("{}: the value given to record is undefined", op.name));
  Tensor value = without_history(std::move(op.value));
  if (!is_differentiable(value) || !is_recorded(op)) return value;
  Ref<Node> node(
      new Operation(op.name, op.inputs, {&value, 1}, 0, std::move(op.vjp), std::move(op.fast_vjp)));
  if (!Access::only_handle(value)) return Access::make(Access::array(value), std::move(node));
  Access::set_node(value, std::move(node));
  return value;
}

Tensors record_many(ManyOp op) {
  Tensors results = std::move(op.values);
  for (Tensor& result : results) result = without_history(std::move(result));
  if (std::ranges::none_of(results, is_differentiable) || !is_recorded(op)) return results;
  const Ref<Node> whole(
      new Operation(op.name, op.inputs, results, results.size(), std::move(op.vjp), std::move(op.fast_vjp)));
  for (std::size_t i = 0; i < results.size(); ++i)
    if (is_differentiable(results[i]))
      results[i] = Access::make(Access::array(results[i]), Ref<Node>(new detail::Part(results[i], whole, i)));
  return results;
}

}  // namespace retort
