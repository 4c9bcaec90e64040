// Reverse-mode differentiation over recorded operations.
#pragma once

#include <functional>
#include <vector>

#include "retort/framework/base/pool.hpp"
#include "retort/framework/core/factories.hpp"
#include "retort/framework/core/grad_mode.hpp"
#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

struct GradOptions {
  Tensors grad_outputs =
      {};  ///< one per output, of its shape; left out or undefined for an output of one element
  bool retain_graph = false;  ///< keep the values saved by rules, so that the graph can be walked again
  bool create_graph = false;  ///< record the derivatives, so that they can be derived; implies retain_graph
  bool allow_unused = false;  ///< return an undefined tensor for an input that no output depends on
};

/// d(sum over outputs of sum(output · grad_output)) / d(input) for each input, leaf or not. Writes no .grad.
/// Gradients are right to any order. A graph belongs to one backward at a time; leaves may be shared by
/// threads.
/// Throws: GraphError for an output without history, a graph already spent, values changed since they were
/// recorded, or (without allow_unused) an input that no output depends on, named by its position.
[[nodiscard]] Tensors grad(const Tensors& outputs, const Tensors& inputs, GradOptions options = {});

namespace detail {
class Leaf;
/// Receives a leaf and its gradient, whose buffer may be shared.
using LeafGradient = std::function<void(const Leaf&, Tensor)>;
/// Tensor::backward. With `receive`, a leaf's gradient is not added to its .grad but handed out as soon as it
/// is complete, while the walk continues. Each leaf comes once, in an order that depends on the graph alone;
/// leaves that nothing flows into do not come.
void backward(const Tensor& output, const Tensor& gradient, BackwardOptions options,
              const LeafGradient& receive = {});
/// The leaves that `output` depends on and that require a gradient, in the order of their creation.
std::vector<const Node*> leaves(const Tensor& output);
}  // namespace detail

}  // namespace retort
