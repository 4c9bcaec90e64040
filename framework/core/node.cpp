#include "retort/framework/core/node.hpp"

#include <algorithm>

#include "retort/framework/base/thread_state.hpp"

namespace retort::detail {

Node::Node(Kind of, const Tensor& value)
    : kind(of), dtype(value.dtype()), id(next_id()), shape(value.shape()) {
  count_nodes(1);
}

void destroy(Node* node) noexcept {
  // Not through a reference: with -fsanitize=null, g++ 12 takes a reference to a thread-local variable for
  // null.
  node->next_dead = std::exchange(thread_state.dead, node);
  if (thread_state.destroying) return;
  thread_state.destroying = true;
  while (Node* dead = thread_state.dead) {
    thread_state.dead = dead->next_dead;
    delete dead;
  }
  thread_state.destroying = false;
}

Operation::Operation(const char* of, const Inputs& from, std::span<const Tensor> values, std::size_t parts,
                     Rule&& rule, Rule&& fast_rule)
    : Node(Kind::operation, *std::ranges::find_if(values, &Tensor::defined)),
      name(of),
      part_count(parts),
      vjp(std::move(rule)),
      fast_vjp(std::move(fast_rule)),
      inputs(from.size()),
      results((vjp && vjp->wants_results) || (fast_vjp && fast_vjp->wants_results) ? values.size() : 0) {
  for (std::size_t i = 0; i < from.size(); ++i)
    if (from[i].requires_grad()) inputs[i] = Ref<Node>::share(Access::node(from[i]));
  for (std::size_t i = 0; i < results.size(); ++i)
    if (values[i].defined()) results[i] = values[i].detach();
}

void Operation::spend() noexcept {
  vjp = fast_vjp = {};
  for (Tensor& result : results) result = {};
  for (Ref<Node>& input : inputs) input = {};
}

Tensor Operation::connected(std::size_t i) {
  const Tensor& result = results[i];
  if (!result.defined() || !is_floating_point(result.dtype())) return result;
  Ref<Node> node = Ref<Node>::share(this);
  if (part_count > 0) node = Ref<Node>(new Part(result, node, i));
  return Access::make(Access::array(result), std::move(node));
}

}  // namespace retort::detail
