// One check for everything that loads a state dict. Internal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "retort/framework/core/state_dict.hpp"

namespace retort::detail {

/// An entry that a state dict must hold.
struct ExpectedEntry {
  std::string name = {};
  Shape shape = {};
  bool may_be_empty = false;  ///< a tensor of shape (0) stands for "not yet"
};

/// ValueError that lists every entry of `state` that is missing, unexpected or of another shape than
/// expected.
void check_state(std::string_view what, const StateDict& state, const std::vector<ExpectedEntry>& expected);

/// Writes the values of `from`, of as many elements, converted to the element type of `to`.
void copy_values(const Tensor& from, const Tensor& to);

}  // namespace retort::detail
