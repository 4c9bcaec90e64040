// What the core keeps per thread. Internal.
#pragma once

#include <cstdint>

namespace retort {
class Tensor;
}

namespace retort::detail {

class Node;

struct ThreadState {
  bool grad_enabled = true;
  bool plain_rules = false;            ///< a .vjp is taken before a .fast_vjp
  bool destroying = false;             ///< a destroy(Node*) further up this thread's stack empties `dead`
  Node* dead = nullptr;                ///< nodes without an owner, waiting for it
  std::uint64_t running_id = ~0ULL;    ///< the node whose rule runs on this thread
  const char* running_name = nullptr;  ///< its operation
  Tensor* const* gathered =
      nullptr;  ///< per input the gradient so far, or null; none if the rule is recorded
};

// Read by every operation: the initial-exec model spares a call into the dynamic linker.
extern thread_local constinit ThreadState thread_state __attribute__((tls_model("initial-exec")));

/// The counter that numbers graph nodes, as it stands; and its next value, taken.
std::uint64_t current_id() noexcept;
std::uint64_t next_id() noexcept;

}  // namespace retort::detail
