// Module: members that learn, and a call.
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

namespace retort {

class Module;

namespace detail {
/// Where a FeatureRecorder gets a module's output, for as long as it lives.
struct Recording : RefCounted {
  Tensor output = {};
  bool is_active = true;
};
void destroy(Recording* recording) noexcept;
}  // namespace detail

/// A tensor that belongs to a module's state but isn't learnt, such as a running mean: it is saved, loaded
/// and converted with the module, and no optimiser gets it.
class Buffer : public Tensor {
 public:
  Buffer() = default;
  Buffer(Tensor tensor) : Tensor(std::move(tensor)) {}  // NOLINT: implicit by design
};

namespace detail {

/// A member that RETORT_MEMBERS lists, or one element of it.
struct Member {
  std::string name = {};
  Tensor tensor = {};  ///< of a parameter or buffer
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

/// Appends what `member` holds: itself, what it points at, or its elements as `name.0`, `name.1`, …
/// Undefined tensors and empty pointers hold nothing.
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

/// Takes the first name off a list "a, b, c".
std::string take_name(const char*& names);

template <class... Ts>
void append_members(std::vector<Member>& members, [[maybe_unused]] const char* names, const Ts&... each) {
  (append_member(members, take_name(names), each), ...);
}

/// Calls a class's own list of members, wherever in the class RETORT_MEMBERS stands.
struct MemberAccess {
  template <class M>
  static void append(const M& module, std::vector<Member>& members) {
    module.M::retort_members(members);
  }
  /// All parameters and buffers with their full names; a tied tensor occurs under each of its names.
  static std::vector<Member> state(const Module& module);
};

}  // namespace detail

/// Base of everything that learns: a class with tensors, buffers and other modules as members, which it lists
/// in RETORT_MEMBERS, and a call operator of any signature. Names are those of PyTorch: `hidden.weight`.
/// Movable, not copyable: two modules never share a parameter by accident.
class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  Module(Module&&) = default;
  Module& operator=(Module&&) = default;

  /// The parameters, children's included, in the order of RETORT_MEMBERS; frozen ones too. A tensor in
  /// several places (tied weights) comes once, under its first name. They are the module's own.
  Tensors parameters() const;
  std::vector<std::pair<std::string, Tensor>> named_parameters() const;
  /// The same for buffers.
  Tensors buffers() const;
  std::vector<std::pair<std::string, Tensor>> named_buffers() const;
  /// The modules that are direct members, with their names.
  std::vector<std::pair<std::string, Module*>> named_children();

  /// Sets this module and all below it to training (true) or evaluation: dropout and batch norm differ.
  void train(bool mode = true);
  void eval() { train(false); }
  bool is_training() const { return training_; }

  /// Sets whether the floating-point parameters require a gradient; false freezes a teacher.
  void set_requires_grad(bool value = true);
  /// Drops the gradients of all parameters.
  void zero_grad();
  /// Converts floating-point parameters, their gradients, and buffers in place: handles that an optimiser
  /// holds stay valid. TypeError for int64, GraphError when a member is the result of an operation.
  void to(DType dtype);

  /// All parameters and buffers by name: a snapshot. The tensors are copies without history, so that training
  /// on does not change them (in PyTorch they share with the module). Tied weights stand under each of their
  /// names.
  StateDict state_dict() const;
  /// Writes `state` into the parameters and buffers, converted to their element types. ValueError that lists
  /// all names that are missing, unexpected or of another shape; then nothing has changed.
  void load_state_dict(const StateDict& state);

 protected:
  /// Returns y, and shows it to the FeatureRecorders of this module: a call operator ends with `return
  /// this->output(y);` to make the module's output available to them. All of the library's modules do.
  Tensor output(Tensor y) const;
  /// Appends this module's own members; RETORT_MEMBERS writes it.
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

/// Stands in a module's class and lists its members: `RETORT_MEMBERS(hidden, out)`. A Tensor is a parameter,
/// a Buffer a buffer, a Module a child; vectors, arrays, optionals and pointers of these are walked
/// (`layers.0.weight`).
#define RETORT_MEMBERS(...)                                                                  \
  friend struct ::retort::detail::MemberAccess;                                              \
  void retort_members(std::vector<::retort::detail::Member>& retort_found) const override {  \
    ::retort::detail::append_members(retort_found, #__VA_ARGS__ __VA_OPT__(, ) __VA_ARGS__); \
  }

/// The same in a class derived from `Base`, which has members of its own: they come first.
#define RETORT_MEMBERS_OF(Base, ...)                                                         \
  friend struct ::retort::detail::MemberAccess;                                              \
  void retort_members(std::vector<::retort::detail::Member>& retort_found) const override {  \
    ::retort::detail::MemberAccess::append<Base>(*this, retort_found);                       \
    ::retort::detail::append_members(retort_found, #__VA_ARGS__ __VA_OPT__(, ) __VA_ARGS__); \
  }
