// Nodes of the graph: leaves, which hold a gradient, and operations, which hold a rule. Internal.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "retort/framework/core/op.hpp"
#include "retort/framework/core/tensor.hpp"

namespace retort::detail {

/// Where a tensor stands in the graph. Ids increase in the order of creation, which is a topological order.
class Node : public RefCounted {
 public:
  enum class Kind : std::uint8_t { leaf, operation, part };
  Node(const Tensor& value, std::uint64_t number, Kind of)
      : id(number), kind(of), leaf(of == Kind::leaf), dtype(value.dtype()), shape(value.shape()) {}

  const std::uint64_t id;
  const Kind kind;
  const bool leaf;
  DType dtype;  ///< of the tensor, and so of its gradient
  const Shape shape;
  Node* next_dead = nullptr;
};
/// Frees a node and what only it held on to, without recursion, however long the chain.
void destroy(Node* node) noexcept;

/// A tensor that no operation made and that wants a gradient, or did.
class Leaf : public Node {
 public:
  explicit Leaf(const Tensor& value);
  std::atomic<bool> wants_grad = true;
  std::mutex
      mutex;  ///< held where grad is read or written: threads that walk graphs of their own share leaves
  Tensor grad;
};

Ref<Node> make_leaf(const Tensor& value);

/// The rules of an operation with several results. The operation's own rules call these, and own this.
struct Many {
  BasicRule<Tensors> vjp;
  BasicRule<Tensors> fast_vjp;
  std::vector<Array> outputs;  ///< kept for a rule that asks
  Tensors gradients;           ///< scratch of the backward numbered `run`: what has flowed into each result
  std::uint64_t run = 0;
  Node* whole = nullptr;
  std::size_t input_count = 0;
};

/// A recorded operation.
class Operation : public Node {
 public:
  Operation(Op&& op);
  ~Operation();

  std::span<Ref<Node>> inputs() { return {inputs_, input_count_}; }
  /// Frees all that the rule needed; the operation cannot be walked through again.
  void spend() noexcept;
  /// The result as the rule wants it: connected to this node when it is to be derived again.
  Tensor output(bool connected);

  const char* name;
  Rule vjp;
  Rule fast_vjp;
  bool spent = false;
  std::uint32_t slot = 0;  ///< scratch, as `run`
  Many* many = nullptr;    ///< for an operation with several results, until it is spent
  // Scratch of the backward that walks this graph; see engine.cpp.
  std::uint64_t run = 0;

 private:
  static constexpr std::size_t inline_inputs = 3;
  Array output_;       // kept for a rule that asks
  Ref<Node>* inputs_;  // inline_, or pool memory where that is too small
  std::size_t input_count_;
  Ref<Node> inline_[inline_inputs];
};

/// One of several results of an operation.
class Part : public Node {
 public:
  Part(const Tensor& value, Ref<Node> of, std::size_t position);
  Operation& operation() const { return static_cast<Operation&>(*whole); }
  const Ref<Node> whole;
  const std::size_t index;
};

/// Receives a leaf and its gradient, whose buffer may be shared.
using LeafGradient = std::function<void(const Leaf&, Tensor)>;
/// Backward from `output`, starting with `gradient`, that hands each leaf's gradient to `receive` as soon as it is
/// complete, while the walk continues, instead of adding it to the leaf's .grad. Each leaf comes once, in an order that
/// depends on the graph alone; leaves that nothing flows into do not come.
void backward_into(const Tensor& output, const Tensor& gradient, const LeafGradient& receive);

/// The leaves that `output` depends on and that want a gradient.
std::vector<const Leaf*> leaves(const Tensor& output);

}  // namespace retort::detail
