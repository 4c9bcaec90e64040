#include "retort/framework/core/engine.hpp"

#include <algorithm>
#include <array>
#include <mutex>
#include <vector>

#include "retort/framework/base/thread_state.hpp"
#include "retort/framework/core/engine_ops.hpp"
#include "retort/framework/core/node.hpp"

namespace retort {
namespace detail {
namespace {

// The leaves of one backward and what has flowed into them. Leaves may belong to several graphs that are walked
// at once by different threads, so that nothing is written into them before the end.
class LeafTable {
 public:
  struct Entry {
    Ref<Node> leaf;
    Tensor gradient;
    std::size_t uses =
        0;  // as an input of operations still to be visited; counted where leaves are received early
  };

  Entry* find(const Node* leaf) {
    for (std::size_t i = hash(leaf);; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i] == 0) return nullptr;
      if (entries_[slots_[i] - 1].leaf.get() == leaf) return &entries_[slots_[i] - 1];
    }
  }
  void insert(Node* leaf) {
    if (find(leaf)) return;
    entries_.push_back({Ref<Node>::share(leaf), {}, 0});
    if (2 * entries_.size() > slots_.size()) {
      slots_.assign(2 * slots_.size(), 0);
      for (std::size_t i = 0; i < entries_.size(); ++i) place(i);
    } else {
      place(entries_.size() - 1);
    }
  }
  std::vector<Entry>& entries() { return entries_; }

 private:
  std::size_t hash(const Node* leaf) const {
    return (reinterpret_cast<std::uintptr_t>(leaf) / 64 * 0x9E3779B97F4A7C15ULL >> 32) & (slots_.size() - 1);
  }
  void place(std::size_t entry) {
    std::size_t i = hash(entries_[entry].leaf.get());
    while (slots_[i] != 0) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = static_cast<std::uint32_t>(entry + 1);
  }

  std::vector<Entry> entries_;
  std::vector<std::uint32_t> slots_ =
      std::vector<std::uint32_t>(32, 0);  // 1 + position in entries_; 0 is free
};

struct Visit {
  Ref<Node> node;
  Tensor gradient;
  bool needed = true;
  Operation& operation() const { return static_cast<Operation&>(*node); }
};

// Recording on or off for its lifetime.
class RecordingScope {
 public:
  explicit RecordingScope(bool recording) : previous_(std::exchange(thread_state.grad_enabled, recording)) {}
  ~RecordingScope() { thread_state.grad_enabled = previous_; }
  RecordingScope(const RecordingScope&) = delete;
  RecordingScope& operator=(const RecordingScope&) = delete;

 private:
  const bool previous_;
};

// While it lives, rules run as those of `operation`, recorded or not.
class RuleScope {
 public:
  RuleScope(const Operation& operation, bool recording, Tensor* const* slots) : previous_(thread_state) {
    thread_state.grad_enabled = recording;
    thread_state.running_id = operation.id;
    thread_state.running_name = operation.name;
    thread_state.gathered = recording ? nullptr : slots;
  }
  ~RuleScope() {
    thread_state.grad_enabled = previous_.grad_enabled;
    thread_state.running_id = previous_.running_id;
    thread_state.running_name = previous_.running_name;
    thread_state.gathered = previous_.gathered;
  }
  RuleScope(const RuleScope&) = delete;
  RuleScope& operator=(const RuleScope&) = delete;

 private:
  const ThreadState previous_;
};

// One walk from outputs to leaves: collect what is reachable and leads to a wanted tensor, then visit it in
// decreasing id, which is the reverse of a topological order.
class Backward {
 public:
  Backward(const char* caller, bool retain_graph, bool create_graph)
      : caller_(caller), retain_(retain_graph || create_graph), record_(create_graph), run_(next_id()) {}

  // Only what leads to `inputs` is walked. Without a call everything that wants a gradient is.
  void want(const Tensors& inputs) {
    wants_all_ = false;
    oldest_wanted_ = ~0ULL;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      Node* node = inputs[i].node();
      if (!inputs[i].requires_grad())
        throw GraphError(
            message("{}: input {} does not require a gradient; call set_requires_grad() on it before it "
                    "is used",
                    caller_, i));
      oldest_wanted_ = std::min(oldest_wanted_, whole(node)->id);
      if (node->leaf) leaves_.insert(node);
    }
  }

  void collect(const Tensors& outputs) {
    for (const Tensor& output : outputs) reach(output.node());
    while (!pending_.empty()) {
      Operation& operation = *pending_.back();
      pending_.pop_back();
      for (const Ref<Node>& input : operation.inputs())
        if (input) reach(input.get());
    }
    const auto newest_first = [](const Visit& a, const Visit& b) { return a.node->id > b.node->id; };
    if (!std::is_sorted(visits_.begin(), visits_.end(), newest_first))
      std::sort(visits_.begin(), visits_.end(), newest_first);
    for (std::size_t i = 0; i < visits_.size(); ++i)
      visits_[i].operation().slot = static_cast<std::uint32_t>(i);
  }

  // Marks which operations lead to `inputs`.
  void prune(const Tensors& inputs) {
    for (Visit& visit : visits_) visit.needed = false;
    for (const Tensor& input : inputs)
      if (Visit* visit = visit_of(input.node())) visit->needed = true;
    for (std::size_t i = visits_.size(); i-- > 0;)
      for (const Ref<Node>& input : visits_[i].operation().inputs())
        if (input && is_needed(input.get())) visits_[i].needed = true;
  }

  // Hands out each leaf's gradient as soon as no operation that is still to be visited has the leaf as an input.
  void receive_early(const LeafGradient& receive) {
    receive_ = &receive;
    for (Visit& visit : visits_)
      for (const Ref<Node>& input : visit.operation().inputs())
        if (LeafTable::Entry* entry = leaf_entry(input)) ++entry->uses;
  }

  void seed(const Tensor& output, Tensor gradient) {
    const RecordingScope scope(record_);
    if (Tensor* slot = slot_of(output.node())) accumulate(*slot, std::move(gradient));
  }

  void run(const Tensors& inputs, Tensors* results) {
    for (Visit& visit : visits_) {
      if (!visit.needed) continue;
      Tensor gradient = std::move(visit.gradient);
      Many* const many = visit.operation().many;
      bool flows = gradient.defined();
      if (many && many->run == run_)
        for (const Tensor& share : many->gradients) flows |= share.defined();
      if (results && many && flows)
        for (std::size_t i = 0; i < inputs.size(); ++i)
          if (inputs[i].node()->kind == Node::Kind::part && whole(inputs[i].node()) == visit.node.get())
            (*results)[i] = many->gradients[static_cast<Part*>(inputs[i].node())->index];
      if (results && gradient.defined())
        for (std::size_t i = 0; i < inputs.size(); ++i)
          if (inputs[i].node() == visit.node.get()) (*results)[i] = gradient;
      // What only was asked for, and leads to nothing else that was, stays as it is for a later walk.
      if (leads_further(visit.operation())) {
        if (flows) apply(visit.operation(), gradient);
        if (receive_) hand_out_leaves(visit.operation());
        if (!retain_) visit.operation().spend();
      } else if (many) {
        many->gradients.assign(many->gradients.size(), Tensor());
      }
      visit.node = {};
    }
  }

  LeafTable& leaves() { return leaves_; }

 private:
  // The operation of which `node` is one of several results, or the node itself.
  static Node* whole(Node* node) {
    return node->kind == Node::Kind::part ? static_cast<Part*>(node)->whole.get() : node;
  }

  void reach(Node* node) {
    if (node->leaf) {
      if (wants_all_ && static_cast<Leaf*>(node)->wants_grad) leaves_.insert(node);
      return;
    }
    auto* operation = static_cast<Operation*>(whole(node));
    // What is older than every wanted tensor cannot lead to one.
    if (operation->run == run_ || operation->id < oldest_wanted_) return;
    if (operation->spent)
      throw GraphError(
          message("{}: the graph of '{}' was spent by an earlier backward; pass .retain_graph = true "
                  "to the earlier one",
                  caller_, operation->name));
    operation->run = run_;
    visits_.push_back({Ref<Node>::share(operation), {}, true});
    pending_.push_back(operation);
  }

  Visit* visit_of(Node* node) {
    if (node->leaf) return nullptr;
    auto* operation = static_cast<Operation*>(whole(node));
    return operation->run == run_ ? &visits_[operation->slot] : nullptr;
  }

  bool is_needed(Node* node) {
    if (node->leaf) return leaves_.find(node) != nullptr;
    const Visit* visit = visit_of(node);
    return visit && visit->needed;
  }

  LeafTable::Entry* leaf_entry(const Ref<Node>& node) {
    return node && node->leaf ? leaves_.find(node.get()) : nullptr;
  }

  void hand_out_leaves(Operation& operation) {
    for (const Ref<Node>& input : operation.inputs()) {
      LeafTable::Entry* const entry = leaf_entry(input);
      if (entry && --entry->uses == 0 && entry->gradient.defined())
        (*receive_)(static_cast<Leaf&>(*input), std::move(entry->gradient));
    }
  }

  bool leads_further(Operation& operation) {
    for (const Ref<Node>& input : operation.inputs())
      if (input && slot_of(input.get())) return true;
    return false;
  }

  // Where the gradient of a node gathers; null when it is not needed.
  Tensor* slot_of(Node* node) {
    if (node->leaf) {
      LeafTable::Entry* entry = leaves_.find(node);
      return entry ? &entry->gradient : nullptr;
    }
    Visit* visit = visit_of(node);
    if (!visit || !visit->needed) return nullptr;
    if (node->kind != Node::Kind::part) return &visit->gradient;
    const Part& part = static_cast<Part&>(*node);
    Many& many = *part.operation().many;
    // What a walk that threw has left is dropped.
    if (std::exchange(many.run, run_) != run_) many.gradients.assign(many.gradients.size(), Tensor());
    return &many.gradients[part.index];
  }

  void accumulate(Tensor& slot, Tensor&& gradient) {
    if (!slot.defined()) {
      slot = std::move(gradient);
    } else if (!record_ && slot.unique()) {
      add_in_place(slot.mutable_array(), gradient.array());
    } else {
      slot = add(slot, gradient);
    }
  }

  void apply(Operation& operation, const Tensor& gradient) {
    const std::span<Ref<Node>> inputs = operation.inputs();
    std::array<Tensor*, inline_count> inline_slots;
    std::array<Tensor, inline_count> inline_gradients;
    std::vector<Tensor*> more_slots;
    Tensors more_gradients;
    Tensor** slots = inline_slots.data();
    Tensor* gradients = inline_gradients.data();
    if (inputs.size() > inline_count) {
      more_slots.resize(inputs.size());
      more_gradients.resize(inputs.size());
      slots = more_slots.data();
      gradients = more_gradients.data();
    }
    std::uint64_t needs = 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      slots[i] = inputs[i] ? slot_of(inputs[i].get()) : nullptr;
      if (slots[i] && i < 64) needs |= std::uint64_t{1} << i;
    }

    const RuleScope scope(operation, record_, slots);
    Rule& rule = choose_rule(operation);
    const std::size_t given = rule(gradient, rule.wants_output() ? operation.output(record_) : Tensor(),
                                   Needs(needs), gradients, inputs.size());
    if (given != inputs.size())
      throw GraphError(
          message("backward of '{}': the rule gave {} gradients for {} inputs; give one an input, "
                  "undefined where nothing flows",
                  operation.name, given, inputs.size()));
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (slots[i] && gradients[i].defined())
        accumulate(*slots[i], fitted(operation, i, std::move(gradients[i]), *inputs[i]));
  }

  Rule& choose_rule(Operation& operation) {
    if (!record_ && operation.fast_vjp && !(thread_state.plain_rules && operation.vjp))
      return operation.fast_vjp;
    if (!operation.vjp)
      throw GraphError(
          message("backward of '{}': its rule cannot be derived again (it has a .fast_vjp only); give "
                  "it a .vjp",
                  operation.name));
    return operation.vjp;
  }

  // The gradient in the input's shape and type: undoes broadcasting and promotion.
  Tensor fitted(const Operation& operation, std::size_t position, Tensor&& gradient, const Node& input) {
    if (gradient.shape() != input.shape) {
      try {
        gradient = sum_to(gradient, input.shape);
      } catch (const ShapeError&) {
        throw ShapeError(
            message("backward of '{}': the rule gave a gradient of shape {} for input {}, which has "
                    "shape {}",
                    operation.name, gradient.shape(), position, input.shape));
      }
    }
    if (gradient.dtype() != input.dtype) gradient = gradient.to(input.dtype);
    if (!record_ && gradient.node()) gradient = gradient.detach();
    return std::move(gradient);
  }

  static constexpr std::size_t inline_count = 6;
  const char* caller_;
  const bool retain_;
  const bool record_;
  const std::uint64_t run_;
  const LeafGradient* receive_ = nullptr;
  bool wants_all_ = true;
  std::uint64_t oldest_wanted_ = 0;
  std::vector<Visit> visits_;
  std::vector<Operation*> pending_;
  LeafTable leaves_;
};

// The gradient that an output starts with.
Tensor starting_gradient(const char* caller, const Tensor& output, const Tensor& given, bool record) {
  if (!output.requires_grad())
    throw GraphError(
        message("{}: the tensor has no history: nothing it was computed from requires a gradient, or "
                "recording was off",
                caller));
  if (!given.defined()) {
    if (output.size() == 1) return ones_like(output);
    throw ShapeError(
        message("{}: the output has shape {}; give a gradient of that shape, or reduce it to one "
                "element first",
                caller, output.shape()));
  }
  if (given.shape() != output.shape())
    throw ShapeError(
        message("{}: the gradient has shape {} but the output {}", caller, given.shape(), output.shape()));
  if (!is_floating_point(given.dtype()))
    throw TypeError(message("{}: the gradient is {}; it must be float32 or float64", caller, given.dtype()));
  const Tensor gradient = given.to(output.dtype());
  return record ? gradient : gradient.detach();
}

Tensors starting_gradients(const char* caller, const Tensors& outputs, const Tensors& given, bool record) {
  if (!given.empty() && given.size() != outputs.size())
    throw ValueError(message("{}: {} grad_outputs for {} outputs", caller, given.size(), outputs.size()));
  Tensors gradients;
  for (std::size_t i = 0; i < outputs.size(); ++i)
    gradients.push_back(starting_gradient(caller, outputs[i], given.empty() ? Tensor() : given[i], record));
  return gradients;
}

// Adds what flowed into a leaf to its .grad, whose buffer is never anybody else's.
void deposit(Leaf& leaf, Tensor&& gradient, bool record) {
  Tensor old;  // goes after the lock, since a graph may go with it
  const std::lock_guard lock(leaf.mutex);
  if (leaf.grad.defined()) {
    if (!record && leaf.grad.unique() && !leaf.grad.node()) {
      add_in_place(leaf.grad.mutable_array(), gradient.array());
      return;
    }
    gradient = add(leaf.grad, gradient);
  }
  old = std::exchange(leaf.grad, gradient.unique() ? std::move(gradient) : gradient.clone());
}

}  // namespace

Tensor gathered_gradient(std::size_t i, const Shape& shape, DType dtype) {
  Tensor* const slot = thread_state.gathered ? thread_state.gathered[i] : nullptr;
  if (slot && slot->unique() && slot->shape() == shape && slot->dtype() == dtype) return std::move(*slot);
  return {};
}

void backward_into(const Tensor& output, const Tensor& gradient, const LeafGradient& receive) {
  Tensor start = starting_gradient("backward", output, gradient, false);
  Backward walk("backward", false, false);
  walk.collect({output});
  walk.receive_early(receive);
  walk.seed(output, std::move(start));
  walk.run({}, nullptr);
  for (auto& [leaf, flowed, uses] : walk.leaves().entries())  // the output itself, where it is a leaf
    if (flowed.defined()) receive(static_cast<Leaf&>(*leaf), std::move(flowed));
}

std::vector<const Leaf*> leaves(const Tensor& output) {
  Backward walk("leaves", true, false);
  if (output.requires_grad()) walk.collect({output});
  std::vector<const Leaf*> found;
  for (const LeafTable::Entry& entry : walk.leaves().entries())
    found.push_back(static_cast<const Leaf*>(entry.leaf.get()));
  return found;
}

}  // namespace detail

void Tensor::backward(const Tensor& given, BackwardOptions options) const {
  Tensor gradient = detail::starting_gradient("backward", *this, given, options.create_graph);
  detail::Backward walk("backward", options.retain_graph, options.create_graph);
  walk.collect({*this});
  walk.seed(*this, std::move(gradient));
  walk.run({}, nullptr);
  const detail::RecordingScope scope(options.create_graph);
  for (auto& [leaf, flowed, uses] : walk.leaves().entries())
    if (flowed.defined())
      detail::deposit(static_cast<detail::Leaf&>(*leaf), std::move(flowed), options.create_graph);
}

Tensors grad(const Tensors& outputs, const Tensors& inputs, GradOptions options) {
  Tensors gradients = detail::starting_gradients("grad", outputs, options.grad_outputs, options.create_graph);
  detail::Backward walk("grad", options.retain_graph, options.create_graph);
  walk.want(inputs);
  walk.collect(outputs);
  walk.prune(inputs);
  for (std::size_t i = 0; i < outputs.size(); ++i) walk.seed(outputs[i], std::move(gradients[i]));
  Tensors results(inputs.size());
  walk.run(inputs, &results);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].node()->leaf) results[i] = walk.leaves().find(inputs[i].node())->gradient;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (!results[i].defined() && !options.allow_unused)
      throw GraphError(
          message("grad: no output depends on input {}; pass .allow_unused = true for an undefined "
                  "gradient",
                  i));
  return results;
}

}  // namespace retort
