// A check for the entry of operations. Internal.
#pragma once

#include "retort/framework/core/tensor.hpp"

namespace retort::detail {

/// Throws: ValueError naming `operation` if the tensor is undefined.
inline void require_defined(const char* operation, const Tensor& x) {
  if (!x.defined())
    throw ValueError(message(
        "{}: an input is undefined (default-constructed, or a gradient that was never computed)", operation));
}

}  // namespace retort::detail
