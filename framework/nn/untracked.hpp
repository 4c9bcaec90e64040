// Finds what a module's RETORT_MEMBERS forgot.
#pragma once

#include <string>
#include <vector>

#include "retort/framework/nn/module.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Describes, one line each, the leaves that `loss` depends on and that require a gradient but are not
/// parameters of `module`: tensors that no optimiser of module.parameters() would update and no state dict
/// would hold. Empty when nothing was forgotten. To be called before backward(), which frees the graph.
std::vector<std::string> untracked_parameters(const Tensor& loss, const Module& module);

}  // namespace retort
