#include "retort/framework/core/op.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>

#include "retort/framework/base/pool.hpp"
#include "retort/framework/base/thread_state.hpp"
#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/engine_ops.hpp"
#include "retort/framework/core/node.hpp"

namespace retort {
namespace detail {

thread_local constinit ThreadState thread_state;

namespace {
std::atomic<std::uint64_t> id_counter{1};

template <class T, class... Arguments>
Ref<Node> make_node(Arguments&&... arguments) {
  count_nodes(1);
  return Ref<Node>(new (pool_allocate(sizeof(T))) T(std::forward<Arguments>(arguments)...));
}
}  // namespace

std::uint64_t current_id() noexcept { return id_counter.load(std::memory_order_relaxed); }
std::uint64_t next_id() noexcept { return id_counter.fetch_add(1, std::memory_order_relaxed); }

Inputs::Inputs(std::initializer_list<Item> items) : size_(items.size()) {
  if (items.size() > inline_count)
    throw ValueError(
        message("record: give more than {} inputs as Tensors, not as a brace list", inline_count));
  std::transform(items.begin(), items.end(), items_.begin(), [](const Item& item) { return item.tensor_; });
}

Inputs::Inputs(const Tensors& tensors) : tensors_(tensors.data()), size_(tensors.size()) {}

Leaf::Leaf(const Tensor& value) : Node(value, next_id(), Kind::leaf) {}

Part::Part(const Tensor& value, Ref<Node> of, std::size_t position)
    : Node(value, next_id(), Kind::part), whole(std::move(of)), index(position) {}

Ref<Node> make_leaf(const Tensor& value) { return make_node<Leaf>(value); }

Operation::Operation(Op&& op)
    : Node(op.value, next_id(), Kind::operation),
      name(op.name),
      vjp(std::move(op.vjp)),
      fast_vjp(std::move(op.fast_vjp)),
      inputs_(inline_),
      input_count_(op.inputs.size()) {
  if (input_count_ > inline_inputs) {
    inputs_ = static_cast<Ref<Node>*>(pool_allocate(input_count_ * sizeof(Ref<Node>)));
    std::uninitialized_default_construct_n(inputs_, input_count_);
  }
  for (std::size_t i = 0; i < input_count_; ++i)
    if (op.inputs[i].requires_grad()) inputs_[i] = Ref<Node>::share(op.inputs[i].node());
  if (vjp.wants_output() || fast_vjp.wants_output()) output_ = op.value.array();
}

Operation::~Operation() {
  if (inputs_ == inline_) return;
  std::destroy_n(inputs_, input_count_);
  pool_free(inputs_, input_count_ * sizeof(Ref<Node>));
}

void Operation::spend() noexcept {
  spent = true;
  many = nullptr;
  vjp.reset();
  fast_vjp.reset();
  output_ = {};
  for (Ref<Node>& input : inputs()) input = {};
}

Tensor Operation::output(bool connected) {
  if (!output_.defined()) return {};
  return connected ? Tensor(output_, Ref<Node>::share(this)) : Tensor(output_);
}

void destroy(Node* node) noexcept {
  ThreadState& state = thread_state;
  node->next_dead = state.dead;
  state.dead = node;
  if (state.destroying) return;
  state.destroying = true;
  while (Node* dead = state.dead) {
    state.dead = dead->next_dead;
    if (dead->leaf) {
      static_cast<Leaf*>(dead)->~Leaf();
      pool_free(dead, sizeof(Leaf));
    } else if (dead->kind == Node::Kind::part) {
      static_cast<Part*>(dead)->~Part();
      pool_free(dead, sizeof(Part));
    } else {
      static_cast<Operation*>(dead)->~Operation();
      pool_free(dead, sizeof(Operation));
    }
    count_nodes(-1);
  }
  state.destroying = false;
}

Tensors call(Many& many, BasicRule<Tensors>& rule, Needs needs) {
  const Tensors gradients = std::exchange(many.gradients, Tensors(many.gradients.size()));
  Tensors outputs;
  if (rule.wants_output())
    for (std::size_t i = 0; i < many.outputs.size(); ++i) {
      outputs.push_back(many.outputs[i].defined() ? Tensor(many.outputs[i]) : Tensor());
      if (is_grad_enabled() && outputs[i].defined() && is_floating_point(outputs[i].dtype()))
        outputs[i] = connect(many.outputs[i], make_node<Part>(outputs[i], Ref<Node>::share(many.whole), i));
    }
  Tensors given(many.input_count);
  const std::size_t count = rule(gradients, outputs, needs, given.data(), given.size());
  given.resize(count);
  return given;
}

RecordingGuard::RecordingGuard() : previous_(std::exchange(thread_state.grad_enabled, true)) {}
RecordingGuard::~RecordingGuard() { thread_state.grad_enabled = previous_; }

Tensors fresh_identities(const Tensors& inputs, Needs needs) {
  Tensors identities;
  identities.reserve(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const bool wanted = needs[i] && inputs[i].requires_grad();
    if (!wanted) {
      identities.push_back(inputs[i]);
    } else if (is_grad_enabled()) {
      identities.push_back(identity(inputs[i]));
    } else {
      identities.push_back(inputs[i].detach().set_requires_grad());
    }
  }
  return identities;
}

Tensors reference_gradients(const Tensor& y, const Tensors& inputs, const Tensors& identities,
                            const Tensor& g, Needs needs) {
  Tensors wanted;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (needs[i] && inputs[i].requires_grad()) wanted.push_back(identities[i]);
  Tensors gradients(inputs.size());
  // A twin may be constant in what it was given, and then nothing flows.
  if (wanted.empty() || !y.requires_grad()) return gradients;
  Tensors given =
      grad({y}, wanted, {.grad_outputs = {g}, .create_graph = is_grad_enabled(), .allow_unused = true});
  std::size_t next = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (needs[i] && inputs[i].requires_grad()) gradients[i] = std::move(given[next++]);
  return gradients;
}

}  // namespace detail

bool is_grad_enabled() noexcept { return detail::thread_state.grad_enabled; }

NoGradGuard::NoGradGuard() : previous_(std::exchange(detail::thread_state.grad_enabled, false)) {}
NoGradGuard::~NoGradGuard() { detail::thread_state.grad_enabled = previous_; }

namespace {

// Whether an operation with these inputs is recorded; one that is must have a rule.
template <class AnyOp>
bool is_recorded(const AnyOp& op) {
  bool required = false;
  for (std::size_t i = 0; i < op.inputs.size(); ++i) required |= op.inputs[i].requires_grad();
  if (required && !op.vjp && !op.fast_vjp)
    throw GraphError(message(
        "{}: an input requires a gradient but the operation has no rule; give it a .vjp, or detach() the input",
        op.name));
  return required;
}

}  // namespace

Tensor record(Op op) {
  if (!detail::thread_state.grad_enabled || !is_floating_point(op.value.dtype()) || !is_recorded(op))
    return op.value.node() ? op.value.detach() : std::move(op.value);
  Tensor value = std::move(op.value);
  op.value = value;  // the node reads its shape, and keeps the numbers where the rule asks for them
  detail::Ref<detail::Node> node = detail::make_node<detail::Operation>(std::move(op));
  op.value = Tensor();
  if (value.node() || !value.impl_->unique()) return Tensor(value.array(), std::move(node));
  value.impl_->node = std::move(node);
  return value;
}

Tensors record_many(ManyOp op) {
  Tensors results;
  const Tensor* first = nullptr;  // a result that can have a gradient
  for (const Tensor& value : op.values) {
    results.push_back(value.defined() && value.node() ? value.detach() : value);
    if (value.defined() && is_floating_point(value.dtype())) first = first ? first : &value;
  }
  if (!first || !detail::thread_state.grad_enabled || !is_recorded(op)) return results;

  const auto many = std::make_shared<detail::Many>();
  many->vjp = std::move(op.vjp);
  many->fast_vjp = std::move(op.fast_vjp);
  if (many->vjp.wants_output() || many->fast_vjp.wants_output())
    for (const Tensor& value : results) many->outputs.push_back(value.defined() ? value.array() : Array());
  // The operation itself has one result as far as the engine knows, and no gradient but those of its parts.
  const auto rule_of = [&](auto member) {
    return [many, member](const Tensor&, Needs needs) { return detail::call(*many, (*many).*member, needs); };
  };
  Op single{.name = op.name, .inputs = op.inputs, .value = *first};
  if (many->vjp) single.vjp = rule_of(&detail::Many::vjp);
  if (many->fast_vjp) single.fast_vjp = rule_of(&detail::Many::fast_vjp);
  const detail::Ref<detail::Node> whole = detail::make_node<detail::Operation>(std::move(single));
  static_cast<detail::Operation&>(*whole).many = many.get();
  many->whole = whole.get();
  many->input_count = op.inputs.size();
  many->gradients.resize(results.size());
  for (std::size_t i = 0; i < results.size(); ++i)
    if (results[i].defined() && is_floating_point(results[i].dtype()))
      results[i] = Tensor(results[i].array(), detail::make_node<detail::Part>(results[i], whole, i));
  return results;
}

}  // namespace retort
