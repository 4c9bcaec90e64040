// Where API.md decides otherwise than the oracle.
#pragma once

#include <string>

#include "case.hpp"

namespace retort::golden {

struct Amendment {
  std::string reason = {};  ///< empty: the case stands as the oracle gave it
  bool skip = false;        ///< there is no such call; otherwise the case now states what API.md says
};

/// Rewrites the expectation of a case by API.md's rules where they differ from PyTorch 1.13.1's results.
Amendment amend(Case& golden);

}  // namespace retort::golden
