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
  Tensors grad_outputs = {};  ///< one per output, of its shape; optional for an output of one element
  bool retain_graph = false;  ///< keep the values saved by rules, so that backward can run again
  bool create_graph = false;  ///< record the derivatives for higher orders; implies retain_graph
  bool allow_unused = false;  ///< return an undefined tensor for an input that no output depends on
};

/// Computes d(sum over outputs of sum(output · grad_output)) / d(input) for each input, leaf or not, without
/// writing to .grad. Gradients are differentiable to any order. Only one backward pass at a time may use a
/// graph; threads may share leaves.
/// Throws: GraphError if an output has no history, the graph was freed by an earlier backward, a saved value
/// has changed, or (without allow_unused) no output depends on an input; ValueError or ShapeError if
/// grad_outputs do not match.
[[nodiscard]] Tensors grad(const Tensors& outputs, const Tensors& inputs, GradOptions options = {});

namespace detail {
class Leaf;
/// Receives a leaf and its gradient, whose buffer may be shared.
using LeafGradient = std::function<void(const Leaf&, Tensor)>;
/// Tensor::backward. If `receive` is given, each leaf's gradient is passed to it as soon as it is complete,
/// while the pass continues, and is not added to the leaf's .grad. Each leaf that a gradient reaches appears
/// once, in an order that depends only on the graph.
void backward(const Tensor& output, const Tensor& gradient, BackwardOptions options,
              const LeafGradient& receive = {});
/// The leaves that `output` depends on and that require a gradient, in order of creation.
std::vector<const Node*> leaves(const Tensor& output);
}  // namespace detail

}  // namespace retort
