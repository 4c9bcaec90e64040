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

/// A callable `(g, needs)` or `(g, y, needs)` that returns one gradient an input: Tensors, a std::array of
/// tensors, or for an op of one input a Tensor. It stands in the graph node itself when it is at most 64 bytes.
class Rule {
 public:
  Rule() = default;
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, Rule>)
  Rule(F&& f) {  // NOLINT: made to be implicit
    using Function = std::remove_cvref_t<F>;
    if constexpr (sizeof(Function) <= sizeof(storage_) && alignof(Function) <= alignof(std::max_align_t)) {
      new (storage_) Function(std::forward<F>(f));
      table_ = &inline_table<Function>;
    } else {
      new (storage_) Function*(new Function(std::forward<F>(f)));
      table_ = &boxed_table<Function>;
    }
  }
  Rule(Rule&& other) noexcept : table_(other.table_) {
    if (table_) table_->move(storage_, other.storage_);
    other.table_ = nullptr;
  }
  Rule& operator=(Rule&& other) noexcept {
    if (this != &other) {
      reset();
      table_ = std::exchange(other.table_, nullptr);
      if (table_) table_->move(storage_, other.storage_);
    }
    return *this;
  }
  ~Rule() { reset(); }

  explicit operator bool() const noexcept { return table_ != nullptr; }
  bool wants_output() const noexcept { return table_ && table_->wants_output; }
  void reset() noexcept {
    if (table_) table_->destroy(storage_);
    table_ = nullptr;
  }
  /// Writes the gradients to out[0 .. count); returns how many the rule gave.
  std::size_t operator()(const Tensor& g, const Tensor& y, Needs needs, Tensor* out, std::size_t count) {
    return table_->call(storage_, g, y, needs, out, count);
  }

 private:
  struct Table {
    std::size_t (*call)(void*, const Tensor&, const Tensor&, Needs, Tensor*, std::size_t);
    void (*move)(void* to, void* from) noexcept;
    void (*destroy)(void*) noexcept;
    bool wants_output;
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
  template <class Function>
  static constexpr bool takes_output = std::is_invocable_v<Function&, const Tensor&, const Tensor&, Needs>;
  template <class Function>
  static std::size_t call(Function& f, const Tensor& g, const Tensor& y, Needs needs, Tensor* out,
                          std::size_t count) {
    if constexpr (takes_output<Function>) {
      return give(out, count, f(g, y, needs));
    } else {
      static_assert(std::is_invocable_v<Function&, const Tensor&, Needs>,
                    "a rule is called as (g, needs) or (g, y, needs)");
      return give(out, count, f(g, needs));
    }
  }

  template <class F>
  static constexpr Table inline_table{
      [](void* self, const Tensor& g, const Tensor& y, Needs needs, Tensor* out, std::size_t count) {
        return call(*static_cast<F*>(self), g, y, needs, out, count);
      },
      [](void* to, void* from) noexcept {
        new (to) F(std::move(*static_cast<F*>(from)));
        static_cast<F*>(from)->~F();
      },
      [](void* self) noexcept { static_cast<F*>(self)->~F(); }, takes_output<F>};
  template <class F>
  static constexpr Table boxed_table{
      [](void* self, const Tensor& g, const Tensor& y, Needs needs, Tensor* out, std::size_t count) {
        return call(**static_cast<F**>(self), g, y, needs, out, count);
      },
      [](void* to, void* from) noexcept { new (to) F*(*static_cast<F**>(from)); },
      [](void* self) noexcept { delete *static_cast<F**>(self); }, takes_output<F>};

  const Table* table_ = nullptr;
  alignas(std::max_align_t) std::byte storage_[64];
};

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

namespace detail {
/// Gradients of twin(inputs) for g, through the graph of the twin.
Tensors reference_gradients(const Tensor& y, const Tensors& inputs, const Tensors& identities,
                            const Tensor& g, Needs needs);
Tensors fresh_identities(const Tensors& inputs, Needs needs);
/// Turns recording on for its lifetime: a twin is recorded even where no higher order is asked for.
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
