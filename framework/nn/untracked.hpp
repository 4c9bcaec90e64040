// Finds parameters missing from RETORT_MEMBERS.
#pragma once

#include <string>
#include <vector>

#include "retort/framework/nn/module.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Describes, one per element, the leaves that `loss` depends on and that require a gradient but are not
/// parameters of `module`: tensors missing from module.parameters() and from its state dict. Empty if there
/// are none. Call it before backward(), which frees the graph.
std::vector<std::string> untracked_parameters(const Tensor& loss, const Module& module);

}  // namespace retort
