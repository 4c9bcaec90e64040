#include "retort/framework/core/engine.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory_resource>
#include <mutex>
#include <ranges>
#include <span>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/scoped.hpp"
#include "retort/framework/base/thread_state.hpp"
#include "retort/framework/core/array_ops.hpp"
#include "retort/framework/core/engine_ops.hpp"
#include "retort/framework/core/node.hpp"
#include "retort/framework/core/require.hpp"

namespace retort {
namespace detail {
namespace {

// The gradient that has reached a leaf. Other threads may run backward through the same leaves, so leaves are
// written only at the end.
struct LeafEntry {
  Ref<Node> leaf;
  std::size_t uses = 0;  // outputs, and inputs of unfinished operations, that are this leaf
  Tensor gradient = {};
};

struct Visit {
  Ref<Node> node;
  std::size_t first = 0;  // position of the gradients of its results in Backward::gradients_
  bool needed = true;
  bool wanted = false;  // the gradients are returned by grad()
  Operation& operation() const { return static_cast<Operation&>(*node); }
  std::size_t result_count() const { return std::max<std::size_t>(operation().part_count, 1); }
};

// Returns null for a leaf.
Operation* operation_of(Node* node) {
  if (node->kind == Node::Kind::part) node = static_cast<Part*>(node)->whole.get();
  return node->kind == Node::Kind::leaf ? nullptr : static_cast<Operation*>(node);
}

// The initial gradient of an output.
Tensor starting_gradient(const char* caller, const Tensor& output, const Tensor& given, bool record) {
  require_defined(caller, "the output", output);
  if (!output.requires_grad())
    throw GraphError(message(
        "{}: the tensor has no history: nothing it was computed from requires a gradient, or recording was "
        "off; call set_requires_grad() on a leaf",
        caller));
  if (!given.defined() && output.size() == 1) return ones_like(output);
  if (!given.defined())
    throw ShapeError(message(
        "{}: the output has shape {}; give a gradient of that shape, or reduce it to one element first",
        caller, output.shape()));
  if (given.shape() != output.shape())
    throw ShapeError(
        message("{}: the gradient has shape {} but the output {}", caller, given.shape(), output.shape()));
  if (!is_floating_point(given.dtype()))
    throw TypeError(message("{}: the gradient is {}; it must be float32 or float64", caller, given.dtype()));
  const Tensor gradient = given.to(output.dtype());
  return record ? gradient : gradient.detach();
}

// One backward pass. Collects the operations that are reachable and lead to a wanted tensor, and runs their
// rules in order of decreasing ids, which is a reverse topological order.
class Backward {
 public:
  Backward(const char* caller, bool retain_graph, bool create_graph)
      : caller_(caller), retain_(retain_graph || create_graph), record_(create_graph), run_(next_id()) {}

  // Collects the operations that lead from `outputs` to `inputs`, or to any leaf that requires a gradient.
  void collect(std::span<const Tensor> outputs, const Tensors* inputs = nullptr) {
    std::pmr::vector<Node*> leaves(&memory_);
    std::uint64_t oldest = inputs ? ~0ULL : 0;  // older operations cannot lead to an input
    for (std::size_t i = 0; inputs && i < inputs->size(); ++i) {
      require_defined(caller_, message("input {}", i).c_str(), (*inputs)[i]);
      Node* const node = Access::node((*inputs)[i]);
      if (!(*inputs)[i].requires_grad())
        throw GraphError(message(
            "{}: input {} does not require a gradient; call set_requires_grad() on it before it is used",
            caller_, i));
      Operation* const operation = operation_of(node);
      oldest = std::min(oldest, operation ? operation->id : node->id);
      if (!operation) leaves.push_back(node);
    }
    const auto reach = [&](Node* node) {
      if (Operation* const operation = operation_of(node)) {
        if (operation->run != run_ && operation->id >= oldest) add(*operation);
      } else if (!inputs && node->requires_grad) {
        leaves.push_back(node);
      }
    };
    for (const Tensor& output : outputs) reach(Access::node(output));
    for (std::size_t i = 0; i < visits_.size(); ++i)
      for (const Ref<Node>& input : visits_[i].operation().inputs)
        if (input) reach(input.get());

    std::ranges::sort(leaves);
    for (Node* const leaf : leaves) {
      if (leaves_.empty() || leaves_.back().leaf.get() != leaf) leaves_.push_back({Ref<Node>::share(leaf)});
      ++leaves_.back().uses;
    }
    const auto id = [](const Visit& visit) { return visit.node->id; };
    if (!std::ranges::is_sorted(visits_, std::greater(), id)) std::ranges::sort(visits_, std::greater(), id);
    std::size_t results = 0;
    for (std::size_t i = 0; i < visits_.size(); ++i) {
      visits_[i].operation().position = i;
      visits_[i].first = std::exchange(results, results + visits_[i].result_count());
    }
    gradients_.resize(results);
    if (inputs) prune(*inputs);
  }

  // Propagates the given gradients of the outputs. With `receive`, each leaf's gradient is passed on as soon
  // as no unfinished operation has the leaf as an input.
  void run(std::span<const Tensor> outputs, std::span<Tensor> gradients, const LeafGradient& receive = {}) {
    {
      const GradMode mode(record_);
      for (std::size_t i = 0; i < outputs.size(); ++i)
        if (Tensor* const slot = slot_of(Access::node(outputs[i])))
          accumulate(*slot, std::move(gradients[i]));
    }
    for (Visit& visit : visits_) {
      if (!visit.needed) continue;
      Operation& operation = visit.operation();
      const std::span<Tensor> flowed(&gradients_[visit.first], visit.result_count());
      // An operation that is only an input of grad() is kept for a later pass.
      if (find_slots(operation)) {
        if (std::ranges::any_of(flowed, &Tensor::defined)) apply(operation, flowed);
        if (receive) hand_out_leaves(operation, receive);
        if (!retain_) operation.spend();
      }
      if (!visit.wanted) std::ranges::fill(flowed, Tensor());
      visit.node = {};
    }
  }

  // The slot that accumulates the gradient of a tensor; null if it is not needed.
  Tensor* slot_of(Node* node) {
    if (Operation* const operation = operation_of(node)) {
      if (operation->run != run_ || !visits_[operation->position].needed) return nullptr;
      const std::size_t index = node == operation ? 0 : static_cast<Part*>(node)->index;
      return &gradients_[visits_[operation->position].first + index];
    }
    LeafEntry* const entry = entry_of(node);
    return entry ? &entry->gradient : nullptr;
  }

  std::pmr::vector<LeafEntry>& leaves() { return leaves_; }

 private:
  void add(Operation& operation) {
    if (operation.is_spent())
      throw GraphError(
          message("{}: the graph of '{}' was spent by an earlier backward; pass .retain_graph = true to "
                  "the earlier one",
                  caller_, operation.name));
    operation.run = run_;
    visits_.push_back({Ref<Node>::share(&operation)});
  }

  LeafEntry* entry_of(Node* leaf) {
    const auto found =
        std::ranges::lower_bound(leaves_, leaf, {}, [](const LeafEntry& entry) { return entry.leaf.get(); });
    return found != leaves_.end() && found->leaf.get() == leaf ? &*found : nullptr;
  }

  void hand_out_leaves(const Operation& operation, const LeafGradient& receive) {
    for (const Ref<Node>& input : operation.inputs) {
      LeafEntry* const entry = input ? entry_of(input.get()) : nullptr;
      if (entry && --entry->uses == 0 && entry->gradient.defined())
        receive(static_cast<Leaf&>(*input), std::move(entry->gradient));
    }
  }

  // Marks the operations that lead to `inputs`.
  void prune(const Tensors& inputs) {
    for (const Tensor& input : inputs)
      if (Operation* const operation = operation_of(Access::node(input)); operation && operation->run == run_)
        visits_[operation->position].wanted = true;
    for (Visit& visit : visits_ | std::views::reverse)
      visit.needed = find_slots(visit.operation()) || visit.wanted;
  }

  // Finds the slots of the gradients of an operation's inputs. Returns false if none is needed.
  bool find_slots(const Operation& operation) {
    slots_.clear();
    bool found = false;
    for (const Ref<Node>& input : operation.inputs) {
      slots_.push_back(input ? slot_of(input.get()) : nullptr);
      found |= slots_.back() != nullptr;
    }
    return found;
  }

  void accumulate(Tensor& slot, Tensor&& gradient) {
    if (!slot.defined()) {
      slot = std::move(gradient);
    } else if (!record_ && Access::unique(slot)) {
      add_in_place(Access::array(slot), Access::array(gradient));
    } else {
      slot = retort::add(slot, gradient);
    }
  }

  // Runs the rule of `operation` for the gradients of its results. The slots of its inputs must be set.
  void apply(Operation& operation, std::span<const Tensor> flowed) {
    const Rule rule = choose_rule(operation);  // a reference, since a rule may run backward itself
    Tensors connected;
    for (std::size_t i = 0; record_ && i < operation.results.size(); ++i)
      connected.push_back(operation.connected(i));
    std::uint64_t needs = 0;
    for (std::size_t i = 0; i < slots_.size() && i < 64; ++i)
      needs |= std::uint64_t{slots_[i] != nullptr} << i;
    given_.assign(slots_.size(), Tensor());
    const Scoped mode(thread_state.mode,
                      {record_, operation.id, operation.name, record_ ? nullptr : slots_.data()});
    const std::size_t count = rule->call(
        {flowed, record_ ? connected : std::span<const Tensor>(operation.results), Needs(needs), given_});
    if (operation.is_spent())
      throw GraphError(message("backward of '{}': the rule ran backward through its own graph and spent it",
                               operation.name));
    if (count != given_.size())
      throw GraphError(message(
          "backward of '{}': the rule gave {} for {}; give one per input, undefined where there is none",
          operation.name, counted(count, "gradient"), counted(given_.size(), "input")));
    for (std::size_t i = 0; i < slots_.size(); ++i)
      if (slots_[i] && given_[i].defined()) accumulate(*slots_[i], fitted(operation, i));
  }

  Rule choose_rule(const Operation& operation) {
    if (!record_ && operation.fast_vjp && !(thread_state.plain_rules && operation.vjp))
      return operation.fast_vjp;
    if (!operation.vjp)
      throw GraphError(message(
          "backward of '{}': its rule cannot be differentiated again (it has a .fast_vjp only); give it "
          "a .vjp",
          operation.name));
    return operation.vjp;
  }

  // Converts the rule's gradient for input i to the input's shape and type: undoes broadcasting and
  // promotion.
  Tensor fitted(const Operation& operation, std::size_t i) {
    const Node& input = *operation.inputs[i];
    Tensor gradient = std::move(given_[i]);
    if (!is_floating_point(gradient.dtype()))
      throw TypeError(
          message("backward of '{}': the rule gave a gradient of {} for input {}; it must be float32 or "
                  "float64",
                  operation.name, gradient.dtype(), i));
    if (gradient.shape() != input.shape && !broadcasts(input.shape, gradient.shape()))
      throw ShapeError(
          message("backward of '{}': the rule gave a gradient of shape {} for input {}, which has shape {}",
                  operation.name, gradient.shape(), i, input.shape));
    if (gradient.shape() != input.shape) gradient = sum_to(gradient, input.shape);
    if (gradient.dtype() != input.dtype) gradient = gradient.to(input.dtype);
    if (!record_ && Access::node(gradient)) gradient = gradient.detach();
    return gradient;
  }

  const char* caller_;
  const bool retain_;
  const bool record_;
  const std::uint64_t run_;
  alignas(std::max_align_t) std::array<std::byte, 4096> room_;  // enough for the lists of a small graph
  std::pmr::monotonic_buffer_resource memory_{room_.data(), room_.size()};
  std::pmr::vector<Visit> visits_{&memory_};
  std::pmr::vector<LeafEntry> leaves_{&memory_};  // sorted
  std::pmr::vector<Tensor> gradients_{&memory_};  // gradients of the results of the collected operations
  std::pmr::vector<Tensor*> slots_{&memory_};  // scratch: per input of an operation, the slot of its gradient
  std::pmr::vector<Tensor> given_{&memory_};   // scratch: per input, the gradient from the rule
};

// Adds a gradient to a leaf's .grad, whose buffer is never shared.
void deposit(Leaf& leaf, Tensor&& gradient, bool record) {
  Tensor old;  // freed after the lock is released, since a graph may be freed with it
  const std::lock_guard lock(leaf.mutex);
  if (leaf.grad.defined()) {
    if (!record && Access::unique(leaf.grad) && !Access::node(leaf.grad))
      return add_in_place(Access::array(leaf.grad), Access::array(gradient));
    gradient = add(leaf.grad, gradient);
  }
  old = std::exchange(leaf.grad, Access::unique(gradient) ? std::move(gradient) : gradient.clone());
}

}  // namespace

std::vector<const Node*> leaves(const Tensor& output) {
  Backward walk("leaves", true, false);
  if (output.requires_grad()) walk.collect({&output, 1});
  std::vector<const Node*> found;
  for (const LeafEntry& entry : walk.leaves()) found.push_back(entry.leaf.get());
  std::ranges::sort(found, {}, &Node::id);
  return found;
}

void backward(const Tensor& output, const Tensor& given, BackwardOptions options,
              const LeafGradient& receive) {
  Tensor gradient = starting_gradient("backward", output, given, options.create_graph);
  Backward walk("backward", options.retain_graph, options.create_graph);
  walk.collect({&output, 1});
  walk.run({&output, 1}, {&gradient, 1}, receive);
  const GradMode mode(options.create_graph);
  for (LeafEntry& entry : walk.leaves()) {  // with `receive` only the output itself, if it is a leaf
    if (!entry.gradient.defined()) continue;
    Leaf& leaf = static_cast<Leaf&>(*entry.leaf);
    if (receive) {
      receive(leaf, std::move(entry.gradient));
    } else {
      deposit(leaf, std::move(entry.gradient), options.create_graph);
    }
  }
}

}  // namespace detail

Tensors grad(const Tensors& outputs, const Tensors& inputs, GradOptions options) {
  if (!options.grad_outputs.empty() && options.grad_outputs.size() != outputs.size())
    throw ValueError(message(
        "grad: the number of grad_outputs is {}, but that of outputs {}; give one per output, or none",
        options.grad_outputs.size(), outputs.size()));
  options.grad_outputs.resize(outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i)
    options.grad_outputs[i] =
        detail::starting_gradient("grad", outputs[i], options.grad_outputs[i], options.create_graph);
  detail::Backward walk("grad", options.retain_graph, options.create_graph);
  walk.collect(outputs, &inputs);
  walk.run(outputs, options.grad_outputs);
  Tensors results;
  for (const Tensor& input : inputs) {
    const Tensor* const gradient = walk.slot_of(detail::Access::node(input));
    if (!options.allow_unused && (!gradient || !gradient->defined()))
      throw GraphError(
          message("grad: no output depends on input {}; pass .allow_unused = true for an undefined gradient",
                  results.size()));
    results.push_back(gradient ? *gradient : Tensor());
  }
  return results;
}

}  // namespace retort
