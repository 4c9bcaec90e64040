// Module: parameters, buffers and submodules, and a call operator.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "retort/framework/base/ref.hpp"
#include "retort/framework/core/factories.hpp"
#include "retort/framework/core/state_dict.hpp"
#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

class Module;

namespace detail {
/// Receives a module's outputs for a FeatureRecorder during its lifetime.
struct Recording : RefCounted {
  Tensor output = {};
  bool is_active = true;
};
void destroy(Recording* recording) noexcept;
}  // namespace detail

/// A tensor in a module's state that is not trained, such as a running mean. It is saved, loaded and
/// converted with the module, but no optimiser receives it.
struct Buffer : Tensor {
  Buffer() = default;
  Buffer(Tensor tensor) : Tensor(std::move(tensor)) {}  // NOLINT: implicit by design
};

namespace detail {

/// A member listed in RETORT_MEMBERS, or an element of such a member.
struct Member {
  std::string name = {};
  Tensor tensor = {};  ///< a parameter or buffer
  bool is_buffer = false;
  const Module* child = nullptr;
};

template <class T>
concept MemberRange = std::is_array_v<T> || requires(const T& range) {
  range.begin();
  range.end();
};
template <class T>
concept MemberPointer = requires(const T& pointer) {
  static_cast<bool>(pointer);
  *pointer;
};

/// Appends `member` itself, what it points to, or its elements as `name.0`, `name.1`, … Undefined tensors and
/// null pointers are skipped.
template <class T>
void append_member(std::vector<Member>& members, std::string name, const T& member) {
  if constexpr (std::is_base_of_v<Tensor, T>) {
    if (member.defined()) members.push_back({std::move(name), member, std::is_base_of_v<Buffer, T>, nullptr});
  } else if constexpr (std::is_base_of_v<Module, T>) {
    members.push_back({std::move(name), {}, false, &member});
  } else if constexpr (MemberRange<T>) {
    std::size_t i = 0;
    for (const auto& element : member) append_member(members, name + "." + std::to_string(i++), element);
  } else if constexpr (MemberPointer<T>) {
    if (member) append_member(members, std::move(name), *member);
  } else {
    static_assert(std::is_void_v<T>,
                  "RETORT_MEMBERS takes Tensors, Buffers, Modules, and containers and pointers of them");
  }
}

/// Removes the first name from a list "a, b, c" and returns it.
std::string take_name(const char*& names);

template <class... Ts>
void append_members(std::vector<Member>& members, [[maybe_unused]] const char* names, const Ts&... each) {
  (append_member(members, take_name(names), each), ...);
}

/// Calls a class's own member list, whatever the access specifier of RETORT_MEMBERS.
struct MemberAccess {
  template <class M>
  static void append(const M& module, std::vector<Member>& members) {
    module.M::retort_members(members);
  }
  /// All parameters and buffers with their full names; a tied tensor appears under each of its names.
  static std::vector<Member> state(const Module& module);
};

}  // namespace detail

/// Base class of modules: a class with tensors, buffers and other modules as members, listed in
/// RETORT_MEMBERS, and a call operator of any signature. Names are as in PyTorch: `hidden.weight`. Movable
/// but not copyable, so that two modules never share a parameter by accident.
class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  Module(Module&&) = default;
  Module& operator=(Module&&) = default;

  /// The parameters, including those of submodules and frozen ones, in the order of RETORT_MEMBERS. A tensor
  /// that appears in several places (tied weights) is listed once. The handles refer to the module's own
  /// tensors.
  Tensors parameters() const;
  /// The parameters with their names, such as "0.weight".
  std::vector<std::pair<std::string, Tensor>> named_parameters() const;
  Tensors buffers() const;  ///< As parameters(), for buffers.
  /// The buffers with their names, such as "1.running_mean".
  std::vector<std::pair<std::string, Tensor>> named_buffers() const;
  std::vector<std::pair<std::string, Module*>> named_children();  ///< The direct submodules with their names.

  /// Sets training (true) or evaluation mode for this module and all submodules; affects dropout and batch
  /// norm.
  void train(bool mode = true);
  /// Sets evaluation mode: train(false).
  void eval() { train(false); }
  /// True in training mode, the default.
  bool is_training() const { return training_; }

  /// Makes the floating-point parameters require a gradient, or not; false freezes the module.
  void set_requires_grad(bool value = true);
  void zero_grad();  ///< Removes the gradients of all parameters.
  /// Converts floating-point parameters, their gradients, and buffers in place: handles held by an optimiser
  /// stay valid.
  /// Throws: TypeError if `dtype` is int64; GraphError if a member is the result of an operation.
  void to(DType dtype);

  /// A snapshot of all parameters and buffers by name: copies without history, unaffected by further training
  /// (unlike PyTorch's, which share memory with the module). Tied weights appear under each of their names.
  StateDict state_dict() const;
  /// Copies `state` to the parameters and buffers, converted to their element types.
  /// Throws: ValueError listing all missing, unexpected and misshaped entries; nothing is then changed.
  void load_state_dict(const StateDict& state);

 protected:
  /// Returns y and passes it to the FeatureRecorders of this module. End a call operator with `return
  /// this->output(y);` to make its output available to them, as all modules of the library do.
  Tensor output(Tensor y) const;
  /// Appends this module's own members; defined by RETORT_MEMBERS.
  virtual void retort_members(std::vector<detail::Member>&) const {}

 private:
  friend struct detail::MemberAccess;
  friend class FeatureRecorder;
  std::vector<detail::Member> members() const;
  void append_state(const std::string& prefix, std::vector<detail::Member>& state) const;
  std::vector<detail::Member> state() const;
  std::vector<std::pair<std::string, Tensor>> named(bool buffers) const;

  bool training_ = true;
  mutable std::vector<detail::Ref<detail::Recording>> recordings_;
};

}  // namespace retort

/// Lists the members of a module inside its class: `RETORT_MEMBERS(hidden, out)`. A Tensor is a parameter, a
/// Buffer a buffer, a Module a submodule. The elements of vectors, arrays, optionals and pointers of these
/// are included (`layers.0.weight`).
#define RETORT_MEMBERS(...)                                                                  \
  friend struct ::retort::detail::MemberAccess;                                              \
  void retort_members(std::vector<::retort::detail::Member>& retort_found) const override {  \
    ::retort::detail::append_members(retort_found, #__VA_ARGS__ __VA_OPT__(, ) __VA_ARGS__); \
  }

/// The same for a class derived from `Base`, whose members are listed first.
#define RETORT_MEMBERS_OF(Base, ...)                                                         \
  friend struct ::retort::detail::MemberAccess;                                              \
  void retort_members(std::vector<::retort::detail::Member>& retort_found) const override {  \
    ::retort::detail::MemberAccess::append<Base>(*this, retort_found);                       \
    ::retort::detail::append_members(retort_found, #__VA_ARGS__ __VA_OPT__(, ) __VA_ARGS__); \
  }
