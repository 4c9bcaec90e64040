// An array as the kernels see it.
#pragma once

#include "retort/framework/base/dtype.hpp"

namespace retort::kernels {

/// A row-major array [outer, n, inner] of which a kernel reduces or normalises the middle extent.
struct Axis {
  Index outer = 1;
  Index n = 1;
  Index inner = 1;

  Index size() const { return outer * n * inner; }
  Index rows() const { return outer * inner; }  ///< elements of a result that has n reduced away
};

}  // namespace retort::kernels
