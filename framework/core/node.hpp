// Graph nodes: leaves, which hold a gradient, and operations, which hold a rule. Internal.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "retort/framework/base/fixed_array.hpp"
#include "retort/framework/core/rule.hpp"

namespace retort::detail {

/// The graph node of a tensor. Ids increase in order of creation, which is a topological order.
class Node : public RefCounted {
 public:
  enum class Kind : std::uint8_t { leaf, operation, part };
  Node(Kind kind, const Tensor& value);
  virtual ~Node() { count_nodes(-1); }

  const Kind kind;
  const DType dtype;  ///< element type of the tensor and of its gradient
  std::atomic<bool> requires_grad = true;
  const std::uint64_t id;
  const Shape shape;
  Node* next_dead = nullptr;
};
/// Frees a node and everything that only it owned, without recursion.
void destroy(Node* node) noexcept;

/// The node of a tensor that is not the result of an operation and that requires, or required, a gradient.
/// Leaves may be shared by threads.
class Leaf : public Node {
 public:
  explicit Leaf(const Tensor& value) : Node(Kind::leaf, value) {}
  std::mutex mutex;  ///< guards grad
  Tensor grad;
};

/// A recorded operation.
struct Operation : Node {
  /// `part_count` is the number of results if each has a Part as its node, or 0 if there is one result, whose
  /// node is this one.
  Operation(const char* name, const Inputs& inputs, std::span<const Tensor> values, std::size_t part_count,
            Rule&& vjp, Rule&& fast_vjp);
  /// Frees everything saved for the rules; backward cannot run through the operation again.
  void spend() noexcept;
  bool is_spent() const noexcept { return !vjp && !fast_vjp; }
  /// Result i connected to this node, for rules that differentiate through it.
  Tensor connected(std::size_t i);

  const char* const name;
  const std::size_t part_count;
  Rule vjp;
  Rule fast_vjp;
  FixedArray<Ref<Node>, 3> inputs;  ///< null for an input that does not require a gradient
  FixedArray<Tensor, 1> results;    ///< without history; empty unless a rule uses them
  std::uint64_t run = 0;            ///< the last backward pass that reached this node, and its position there
  std::size_t position = 0;
};

/// The node of one result of an operation with several results.
struct Part : Node {
  Part(const Tensor& value, Ref<Node> of, std::size_t position)
      : Node(Kind::part, value), whole(std::move(of)), index(position) {}
  const Ref<Node> whole;
  const std::size_t index;
};

}  // namespace retort::detail
