// Reverse-mode differentiation over recorded operations.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "retort/framework/base/pool.hpp"
#include "retort/framework/core/tensor.hpp"

namespace retort {

struct GradOptions {
  Tensors grad_outputs = {};  ///< one an output, of its shape; left out (or undefined) for one of one element
  bool retain_graph = false;  ///< keep what rules saved, so that the graph can be walked again
  bool create_graph = false;  ///< record the derivatives, so that they can be derived; implies retain_graph
  bool allow_unused = false;  ///< an input that no output depends on gets an undefined tensor, not an error
};

/// d(sum over outputs of sum(output · grad_output)) / d(input) for each input, leaf or not. Writes no .grad.
/// GraphError for an output without history, a graph already spent, values changed since they were recorded,
/// or (without allow_unused) an input that no output depends on, named by its position.
///
/// Gradients are right to any order. A graph belongs to one backward at a time; leaves may be shared by threads.
[[nodiscard]] Tensors grad(const Tensors& outputs, const Tensors& inputs, GradOptions options = {});

/// Whether operations on this thread are recorded.
bool is_grad_enabled() noexcept;

/// Turns recording off on this thread for its lifetime.
class NoGradGuard {
 public:
  NoGradGuard();
  ~NoGradGuard();
  NoGradGuard(const NoGradGuard&) = delete;
  NoGradGuard& operator=(const NoGradGuard&) = delete;

 private:
  bool previous_;
};

/// f() with recording off. A tensor that it returns is a leaf, also where f hands on one with history.
template <class F>
decltype(auto) no_grad(F&& f) {
  const NoGradGuard guard;
  if constexpr (std::is_same_v<std::remove_cvref_t<decltype(std::forward<F>(f)())>, Tensor>) {
    Tensor result = std::forward<F>(f)();
    if (!result.is_leaf()) result = result.detach();
    return result;
  } else {
    return std::forward<F>(f)();
  }
}

}  // namespace retort
