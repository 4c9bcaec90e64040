#include "retort/framework/core/op.hpp"

#include <algorithm>
#include <atomic>
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

Leaf::Leaf(const Tensor& value) : Node(value, next_id(), true) {}

Ref<Node> make_leaf(const Tensor& value) { return make_node<Leaf>(value); }

Operation::Operation(Op&& op)
    : Node(op.value, next_id(), false),
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
    } else {
      static_cast<Operation*>(dead)->~Operation();
      pool_free(dead, sizeof(Operation));
    }
    count_nodes(-1);
  }
  state.destroying = false;
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

Tensor record(Op op) {
  bool wanted = false;
  if (detail::thread_state.grad_enabled && is_floating_point(op.value.dtype()))
    for (std::size_t i = 0; i < op.inputs.size(); ++i) wanted |= op.inputs[i].requires_grad();
  if (!wanted) return op.value.node() ? op.value.detach() : std::move(op.value);
  if (!op.vjp && !op.fast_vjp)
    throw GraphError(
        message("{}: an input wants a gradient but the operation has no rule; give record() a .vjp, "
                "or detach() the input",
                op.name));
  Tensor value = std::move(op.value);
  op.value = value;  // the node reads its shape, and keeps the numbers where the rule asks for them
  detail::Ref<detail::Node> node = detail::make_node<detail::Operation>(std::move(op));
  op.value = Tensor();
  if (value.node() || !value.impl_->unique()) return Tensor(value.array(), std::move(node));
  value.impl_->node = std::move(node);
  return value;
}

}  // namespace retort
