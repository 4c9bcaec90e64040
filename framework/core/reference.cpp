#include "retort/framework/core/reference.hpp"

#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/engine_ops.hpp"

namespace retort::detail {

Tensors reference_gradients(const std::function<Tensors(const Tensors&)>& reference, const Tensors& inputs,
                            const Tensors& gs, Needs needs) {
  Tensors identities = inputs, wanted, results, outputs, upstream;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!needs[i] || !inputs[i].requires_grad()) continue;
    identities[i] = is_grad_enabled() ? identity(inputs[i]) : inputs[i].detach().set_requires_grad();
    wanted.push_back(identities[i]);
  }
  {
    const GradMode recording(true);  // even if no higher order is requested
    results = reference(identities);
  }
  for (std::size_t i = 0; i < results.size(); ++i)
    if (gs[i].defined() && results[i].requires_grad()) {
      outputs.push_back(results[i]);
      upstream.push_back(gs[i]);
    }
  Tensors gradients(inputs.size());
  // If the reference does not depend on its inputs, there are no gradients.
  if (wanted.empty() || outputs.empty()) return gradients;
  Tensors given = grad(outputs, wanted,
                       {.grad_outputs = upstream, .create_graph = is_grad_enabled(), .allow_unused = true});
  auto next = given.begin();
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (!Access::same(identities[i], inputs[i])) gradients[i] = std::move(*next++);
  return gradients;
}

}  // namespace retort::detail
