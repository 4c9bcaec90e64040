// Rules: the callables that compute the gradients of an operation's inputs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <type_traits>
#include <utility>

#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

/// The inputs of an operation that require a gradient. A rule skips the others.
class Needs {
 public:
  explicit constexpr Needs(std::uint64_t bits) : bits_(bits) {}
  /// Returns true if input i requires a gradient; always true from the 65th input on.
  constexpr bool operator[](std::size_t i) const { return i >= 64 || (bits_ >> i & 1) != 0; }

 private:
  std::uint64_t bits_;
};

namespace detail {

/// The arguments of a rule: one gradient per result, and the results if it takes them.
struct RuleCall {
  std::span<const Tensor> gradients;
  std::span<const Tensor> results;
  Needs needs;
  std::span<Tensor> out;  ///< receives one gradient per input
};

/// A type-erased rule.
struct RuleBody : RefCounted {
  explicit RuleBody(bool with_results) noexcept : wants_results(with_results) {}
  virtual ~RuleBody() = default;
  /// Returns the number of gradients that the rule returned.
  virtual std::size_t call(const RuleCall& call) = 0;
  const bool wants_results;
};
using Rule = Ref<RuleBody>;

/// A callable `(g, needs)` or `(g, y, needs)` that returns one gradient per input: Tensors, a std::array of
/// tensors, or a single Tensor for an operation of one input. `Value` is Tensor, or Tensors for an operation
/// with several results.
template <class Value>
class RuleOf : public Rule {
 public:
  RuleOf() = default;
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, RuleOf>)
  RuleOf(F&& f)
      : Rule(new Callable<std::remove_cvref_t<F>>(std::forward<F>(f))) {}  // NOLINT: implicit by design

 private:
  template <class F>
  struct Callable final : RuleBody {
    static constexpr bool takes_results = std::is_invocable_v<F&, const Value&, const Value&, Needs>;
    static_assert(takes_results || std::is_invocable_v<F&, const Value&, Needs>,
                  "a rule is called as (g, needs) or (g, y, needs)");
    template <class G>
    explicit Callable(G&& function) : RuleBody(takes_results), f(std::forward<G>(function)) {}
    std::size_t call(const RuleCall& call) override {
      if constexpr (takes_results) {
        return give(call.out, f(as_value(call.gradients), as_value(call.results), call.needs));
      } else {
        return give(call.out, f(as_value(call.gradients), call.needs));
      }
    }
    F f;
  };

  static decltype(auto) as_value(std::span<const Tensor> tensors) {
    if constexpr (std::is_same_v<Value, Tensor>) {
      return tensors.front();
    } else {
      return Value(tensors.begin(), tensors.end());
    }
  }
  static std::size_t give(std::span<Tensor> out, Tensor&& gradient) {
    out[0] = std::move(gradient);
    return 1;
  }
  template <class Sequence>
  static std::size_t give(std::span<Tensor> out, Sequence&& gradients) {
    for (std::size_t i = 0; i < gradients.size() && i < out.size(); ++i) out[i] = std::move(gradients[i]);
    return gradients.size();
  }
};

/// The inputs of an operation during a record() call. Holds pointers, so that no reference counts change.
class Inputs {
 public:
  static constexpr std::size_t inline_count = 6;
  struct Item {
    Item(const Tensor& input) : tensor(&input) {}  // NOLINT: implicit by design
    const Tensor* tensor;
  };

  Inputs() = default;
  Inputs(std::initializer_list<Item> items) {
    if (items.size() > inline_count)
      throw ValueError(
          message("record: give more than {} inputs as Tensors, not as a brace list", inline_count));
    for (const Item& item : items) items_[size_++] = item.tensor;
  }
  Inputs(const Tensors& tensors) : tensors_(tensors.data()), size_(tensors.size()) {}  // NOLINT: as above
  std::size_t size() const { return size_; }
  const Tensor& operator[](std::size_t i) const { return tensors_ ? tensors_[i] : *items_[i]; }

 private:
  std::array<const Tensor*, inline_count> items_{};
  const Tensor* tensors_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace detail
}  // namespace retort
