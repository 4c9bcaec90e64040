#include "retort/framework/core/reference.hpp"

#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/engine_ops.hpp"

namespace retort::detail {

Tensors fresh_identities(const Tensors& inputs, Needs needs) {
  Tensors identities;
  identities.reserve(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const bool wanted = needs[i] && inputs[i].requires_grad();
    if (!wanted) {
      identities.push_back(inputs[i]);
    } else if (is_grad_enabled()) {
      identities.push_back(identity(inputs[i]));
    } else {
      identities.push_back(inputs[i].detach().set_requires_grad());
    }
  }
  return identities;
}

Tensors reference_gradients(const Tensor& y, const Tensors& inputs, const Tensors& identities,
                            const Tensor& g, Needs needs) {
  Tensors wanted;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (needs[i] && inputs[i].requires_grad()) wanted.push_back(identities[i]);
  Tensors gradients(inputs.size());
  // If the reference does not depend on its inputs, there are no gradients.
  if (wanted.empty() || !y.requires_grad()) return gradients;
  Tensors given =
      grad({y}, wanted, {.grad_outputs = {g}, .create_graph = is_grad_enabled(), .allow_unused = true});
  std::size_t next = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (needs[i] && inputs[i].requires_grad()) gradients[i] = std::move(given[next++]);
  return gradients;
}

}  // namespace retort::detail
