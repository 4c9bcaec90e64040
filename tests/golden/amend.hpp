// Cases in which Retort deliberately differs from the oracle, or the oracle's own rounding is too coarse.
#pragma once

#include <string>

#include "case.hpp"

namespace retort::golden {

struct Amendment {
  std::string reason = {};  ///< empty: the case is unchanged
  bool skip = false;        ///< there is no such call; otherwise the case has been rewritten
};

/// Rewrites the expected results of a case where Retort's rules differ from PyTorch 1.13.1. Results that the
/// oracle computed in float32 are compared at float32's tolerance.
Amendment amend(Case& golden);

}  // namespace retort::golden
