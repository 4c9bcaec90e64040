// Reverse-mode differentiation over recorded operations.
#pragma once

#include <functional>
#include <vector>

#include "retort/framework/base/pool.hpp"
#include "retort/framework/core/factories.hpp"
#include "retort/framework/core/grad_mode.hpp"
#include "retort/framework/core/tensor.hpp"

namespace retort {

struct GradOptions {
  Tensors grad_outputs =
      {};  ///< one per output, of its shape; may be omitted or undefined for an output of one element
  bool retain_graph = false;  ///< keep the values saved by rules, so that backward can run again
  bool create_graph = false;  ///< record the derivatives for higher orders; implies retain_graph
  bool allow_unused = false;  ///< return an undefined tensor for an input that no output depends on
};

/// Computes d(sum over outputs of sum(output · grad_output)) / d(input) for each input, leaf or not, without
/// writing to .grad. Gradients are differentiable to any order. Only one backward pass at a time may use a
/// graph; threads may share leaves.
/// Throws: GraphError if an output has no history, the graph was freed by an earlier backward, a saved value
/// has changed, or (without allow_unused) no output depends on an input, which is named by its position.
[[nodiscard]] Tensors grad(const Tensors& outputs, const Tensors& inputs, GradOptions options = {});

namespace detail {
/// Tensor::backward.
void backward(const Tensor& output, const Tensor& gradient, BackwardOptions options);
class Leaf;
/// Receives a leaf and its gradient, whose buffer may be shared.
using LeafGradient = std::function<void(const Leaf&, Tensor)>;
/// Runs backward from `output`, starting with `gradient`. Instead of adding to the leaves' .grad, passes each
/// leaf's gradient to `receive` as soon as it is complete, while the pass continues. Each leaf that a
/// gradient reaches appears once, in an order that depends only on the graph.
void backward_into(const Tensor& output, const Tensor& gradient, const LeafGradient& receive);
/// The leaves that `output` depends on and that require a gradient, in order of creation.
std::vector<const Node*> leaves(const Tensor& output);
}  // namespace detail

}  // namespace retort
