// Sequential: a chain of modules.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include "retort/framework/nn/module.hpp"

namespace [[RETORT_EXPORT]] retort {

namespace detail {

/// A module that maps one tensor to one tensor.
template <class M>
concept Layer = std::is_base_of_v<Module, M> && std::is_move_constructible_v<M> &&
                std::is_invocable_r_v<Tensor, M&, const Tensor&>;

/// Owns a layer of any type.
class AnyLayer {
 public:
  template <Layer M>
  explicit AnyLayer(M&& layer)
      : module_(new M(std::move(layer))),
        call_([](Module& module, const Tensor& x) -> Tensor { return static_cast<M&>(module)(x); }) {}
  AnyLayer(AnyLayer&& other) noexcept : module_(std::exchange(other.module_, nullptr)), call_(other.call_) {}
  AnyLayer& operator=(AnyLayer&& other) noexcept {
    std::swap(module_, other.module_);
    std::swap(call_, other.call_);
    return *this;
  }
  ~AnyLayer() { delete module_; }

  Module& module() const { return *module_; }
  Tensor operator()(const Tensor& x) const { return call_(*module_, x); }

 private:
  Module* module_;
  Tensor (*call_)(Module&, const Tensor&);
};

}  // namespace detail

/// Calls its modules in order: `Sequential(Linear(784, 30), ReLU(), Linear(30, 10))`. The modules are moved
/// in and named "0", "1", … Without modules it returns its input.
class Sequential : public Module {
 public:
  Sequential() = default;
  /// Takes ownership of the modules.
  template <class... Layers>
    requires(sizeof...(Layers) > 0 && (std::is_base_of_v<Module, Layers> && ...) &&
             !(sizeof...(Layers) == 1 && (std::is_same_v<Sequential, Layers> && ...)))  // that is a move
  explicit Sequential(Layers&&... layers) {
    (append(std::move(layers)), ...);
  }

  /// Appends a module.
  template <detail::Layer M>
  void append(M&& layer) {
    layers_.emplace_back(std::move(layer));
  }
  /// Number of modules.
  std::size_t size() const { return layers_.size(); }
  /// Module i.
  /// Throws: IndexError if there is none.
  Module& operator[](std::size_t i) const;

  Tensor operator()(const Tensor& x) const;

 protected:
  void retort_members(std::vector<detail::Member>& found) const override;

 private:
  std::vector<detail::AnyLayer> layers_;
};

}  // namespace retort
