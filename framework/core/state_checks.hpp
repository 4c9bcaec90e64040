// Checks of the state dicts that modules, optimisers and schedules load. Internal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "retort/framework/core/state_dict.hpp"

namespace [[RETORT_EXPORT]] retort {
namespace detail {

/// An entry that a state dict must contain.
struct ExpectedEntry {
  std::string name = {};
  Shape shape = {};
  bool may_be_empty = false;  ///< also accept a tensor of shape (0), which means "not set yet"
};

/// Checks that the entries of `state` have the expected names and shapes.
/// Throws: ValueError listing all missing, unexpected and misshaped entries.
void check_state(std::string_view what, const StateDict& state, const std::vector<ExpectedEntry>& expected);

/// An entry without elements that labels the owner of a state, such as "schedule.StepLR".
StateDict::value_type label(std::string_view what, std::string_view own);
/// Checks the label `what` of a state, and adds it to the expected entries if there is one; earlier versions
/// did not write labels.
/// Throws: ValueError if the label differs from `own`.
void check_label(std::string_view operation, const StateDict& state, std::string_view what,
                 std::string_view own, std::vector<ExpectedEntry>& expected);

/// Copies the values of `from`, which has the same number of elements, to `to`, converted to its element
/// type.
void copy_values(const Tensor& from, const Tensor& to);

}  // namespace detail
}  // namespace retort
