// How an operation enters the graph: its name, inputs, value and rule.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <new>
#include <type_traits>
#include <utility>

#include "retort/framework/core/tensor.hpp"

namespace retort {

/// Which inputs of an operation want a gradient: a rule does no work for the others.
class Needs {
 public:
  explicit constexpr Needs(std::uint64_t bits) : bits_(bits) {}
  /// True when input i wants a gradient (always, beyond the 64th input: what is not needed is dropped).
  constexpr bool operator[](std::size_t i) const { return i >= 64 || (bits_ >> i & 1) != 0; }

 private:
  std::uint64_t bits_;
};

namespace detail {

/// The inputs of an op for the length of a record() call: pointers, so that no count is touched.
class Inputs {
 public:
  static constexpr std::size_t inline_count = 6;
  class Item {
   public:
    Item(const Tensor& tensor) : tensor_(&tensor) {}  // NOLINT: made to be implicit
    const Tensor* tensor_;
  };

  Inputs() = default;
  Inputs(std::initializer_list<Item> items);
  Inputs(const Tensors& tensors);  // NOLINT: made to be implicit
  std::size_t size() const { return size_; }
  const Tensor& operator[](std::size_t i) const { return tensors_ ? tensors_[i] : *items_[i]; }

 private:
  std::array<const Tensor*, inline_count> items_{};
  const Tensor* tensors_ = nullptr;
  std::size_t size_ = 0;
};

/// A callable `(g, needs)` or `(g, y, needs)` that returns one gradient per input: Tensors, a std::array of tensors, or
/// for an operation of one input a Tensor. `Value` is Tensor, or Tensors for an operation with several results. The
/// callable is stored in the object itself if it has at most 64 bytes.
template <class Value>
class BasicRule {
 public:
  BasicRule() = default;
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, BasicRule>)
  BasicRule(F&& f) {  // NOLINT: made to be implicit
    using Body = Callable<std::remove_cvref_t<F>>;
    if constexpr (sizeof(Body) <= sizeof(storage_) && alignof(Body) <= alignof(void*)) {
      body_ = new (storage_) Body(std::forward<F>(f));
    } else {
      body_ = new Body(std::forward<F>(f));
    }
  }
  BasicRule(BasicRule&& other) noexcept { take(other); }
  BasicRule& operator=(BasicRule&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~BasicRule() { reset(); }

  explicit operator bool() const noexcept { return body_ != nullptr; }
  bool wants_output() const noexcept { return body_ && body_->wants_output; }
  void reset() noexcept {
    if (!body_) return;
    if (is_inline()) {
      body_->~Base();
    } else {
      delete body_;
    }
    body_ = nullptr;
  }
  /// Writes the gradients to out[0 .. count); returns how many the rule gave.
  std::size_t operator()(const Value& g, const Value& y, Needs needs, Tensor* out, std::size_t count) {
    return body_->call(g, y, needs, out, count);
  }

 private:
  struct Base {
    explicit Base(bool with_output) noexcept : wants_output(with_output) {}
    virtual ~Base() = default;
    virtual std::size_t call(const Value&, const Value&, Needs, Tensor*, std::size_t) = 0;
    virtual Base* move_to(void* storage) noexcept = 0;
    const bool wants_output;
  };

  template <class F>
  struct Callable final : Base {
    static constexpr bool takes_output = std::is_invocable_v<F&, const Value&, const Value&, Needs>;
    template <class G>
    explicit Callable(G&& g) : Base(takes_output), f(std::forward<G>(g)) {}
    std::size_t call(const Value& g, const Value& y, Needs needs, Tensor* out, std::size_t count) override {
      if constexpr (takes_output) {
        return give(out, count, f(g, y, needs));
      } else {
        static_assert(std::is_invocable_v<F&, const Value&, Needs>,
                      "a rule is called as (g, needs) or (g, y, needs)");
        return give(out, count, f(g, needs));
      }
    }
    Base* move_to(void* storage) noexcept override { return new (storage) Callable(std::move(f)); }
    F f;
  };

  static std::size_t give(Tensor* out, std::size_t, Tensor&& gradient) {
    out[0] = std::move(gradient);
    return 1;
  }
  template <class Sequence>
  static std::size_t give(Tensor* out, std::size_t count, Sequence&& gradients) {
    for (std::size_t i = 0; i < gradients.size() && i < count; ++i) out[i] = std::move(gradients[i]);
    return gradients.size();
  }

  bool is_inline() const noexcept { return static_cast<const void*>(body_) == storage_; }
  void take(BasicRule& other) noexcept {
    body_ = other.is_inline() ? other.body_->move_to(storage_) : other.body_;
    if (other.is_inline()) other.body_->~Base();
    other.body_ = nullptr;
  }

  Base* body_ = nullptr;  // in storage_ or on the heap
  alignas(void*) std::byte storage_[80];
};
using Rule = BasicRule<Tensor>;

}  // namespace detail

/// One operation, as record() takes it.
struct Op {
  const char* name = "operation";  ///< stands in errors; a string literal, or one that outlives the graph
  detail::Inputs inputs = {};      ///< what the value depends on
  Tensor value = {};               ///< the result, computed without history
  detail::Rule vjp = {};       ///< gradient of each input, written in ops, so that it can be derived itself
  detail::Rule fast_vjp = {};  ///< the same numbers without a graph; taken when nothing is recorded
};

/// Gives `op.value` its place in the graph and returns it: with history when an input wants a gradient and
/// recording is on, without otherwise.
///
/// A rule is called as (g, needs) or (g, y, needs) with g the gradient of the result [its shape] and y the
/// result itself, which is kept only for a rule that asks. It returns one tensor an input, undefined where
/// needs[i] is false or nothing flows. A gradient may have the broadcast shape and a wider float type: both
/// are undone for it. Capturing an input saves it.
/// GraphError for an op without a rule whose input wants a gradient, unless the value is int64.
Tensor record(Op op);

/// One operation with several results, as record_many() takes it.
struct ManyOp {
  const char* name = "operation";  ///< used in error messages; must outlive the graph (a string literal)
  detail::Inputs inputs = {};      ///< what the values depend on
  Tensors values = {};             ///< the results, computed without history
  detail::BasicRule<Tensors> vjp =
      {};  ///< gradient of each input, written in ops, so that it can be derived itself
  detail::BasicRule<Tensors> fast_vjp =
      {};  ///< the same numbers without a graph; taken when nothing is recorded
};

/// Gives the results of one operation their place in the graph, as record() does for a single result, and returns them.
///
/// A rule is called once per backward as (gs, needs) or (gs, ys, needs): gs holds one gradient per result, undefined for
/// a result that nothing flows into, and ys the results, kept only for a rule that asks. It returns one tensor per input
/// under the terms of record().
///
/// Edge cases: int64 results and undefined ones have no history, and their entry of gs is always undefined. Without any
/// floating-point result nothing is recorded.
/// Throws: GraphError if an input requires a gradient and there is no rule.
[[nodiscard]] Tensors record_many(ManyOp op);

namespace detail {
/// Gradients of twin(inputs) for g, through the graph of the twin.
Tensors reference_gradients(const Tensor& y, const Tensors& inputs, const Tensors& identities,
                            const Tensor& g, Needs needs);
Tensors fresh_identities(const Tensors& inputs, Needs needs);
/// Turns recording on for its lifetime: a reference is recorded even if no higher order is asked for.
class RecordingGuard {
 public:
  RecordingGuard();
  ~RecordingGuard();
  RecordingGuard(const RecordingGuard&) = delete;
  RecordingGuard& operator=(const RecordingGuard&) = delete;

 private:
  bool previous_;
};
}  // namespace detail

/// The rule of a fused op that has a plain twin made of ops: derives `twin(inputs)`, a callable from
/// `const Tensors&` to Tensor that computes the same value. Right to any order; each input is given an
/// identity of its own, so that one tensor in two places gets each place's share once.
template <class Twin>
auto vjp_by_reference(Twin twin, Tensors inputs) {
  return [twin = std::move(twin), inputs = std::move(inputs)](const Tensor& g, Needs needs) {
    const Tensors identities = detail::fresh_identities(inputs, needs);
    Tensor y;
    {
      const detail::RecordingGuard recording;
      y = twin(identities);
    }
    return detail::reference_gradients(y, inputs, identities, g, needs);
  };
}

}  // namespace retort
