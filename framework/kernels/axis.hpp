// The layout of an array along one dimension.
#pragma once

#include "retort/framework/base/dtype.hpp"

namespace retort::kernels {

/// A row-major array [outer, n, inner]; kernels reduce or normalise the middle dimension.
struct Axis {
  Index outer = 1;
  Index n = 1;
  Index inner = 1;

  Index size() const { return outer * n * inner; }
  Index rows() const { return outer * inner; }  ///< number of elements after reducing n
};

}  // namespace retort::kernels
