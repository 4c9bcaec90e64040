// Per-thread state of the library, and the numbering of graph nodes. Internal.
#pragma once

#include <cstdint>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {
class Tensor;
}

namespace retort::detail {
class Node;

/// How operations run on a thread.
struct RunMode {
  bool recording = true;
  std::uint64_t running_id = ~0ULL;    ///< the node whose rule is running
  const char* running_name = nullptr;  ///< the name of its operation
  Tensor* const* gathered = nullptr;   ///< gradients of its inputs so far, each may be null; null if recorded
};

struct ThreadState {
  RunMode mode;
  bool plain_rules = false;  ///< prefer a .vjp to a .fast_vjp
  bool destroying = false;   ///< a call of destroy(Node*) on this thread is emptying `dead`
  Node* dead = nullptr;      ///< nodes without an owner, to be freed by that call
};
// Read by every operation: the initial-exec model avoids a call into the dynamic linker.
extern thread_local constinit ThreadState thread_state __attribute__((tls_model("initial-exec")));

/// The number of the next graph node; next_id() also consumes it.
std::uint64_t current_id() noexcept;
std::uint64_t next_id() noexcept;

}  // namespace retort::detail
