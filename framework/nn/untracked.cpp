#include "retort/framework/nn/untracked.hpp"

#include <unordered_set>

#include "retort/framework/core/engine.hpp"
#include "retort/framework/core/node.hpp"

namespace retort {

std::vector<std::string> untracked_parameters(const Tensor& loss, const Module& module) {
  std::unordered_set<const detail::Node*> tracked;
  for (const Tensor& parameter : module.parameters()) tracked.insert(detail::Access::node(parameter));
  std::vector<std::string> found;
  for (const detail::Node* leaf : detail::leaves(loss))
    if (!tracked.contains(leaf))
      found.push_back(
          message("a {} tensor of shape {} requires a gradient but is not a parameter of the module; list it "
                  "in RETORT_MEMBERS",
                  leaf->dtype, leaf->shape));
  return found;
}

}  // namespace retort
