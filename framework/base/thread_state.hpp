// The state that the library keeps per thread, and the numbers of graph nodes. Internal.
#pragma once

#include <cstdint>
#include <utility>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {
class Tensor;
}

namespace retort::detail {
class Node;

/// How the operations of a thread run.
struct RunMode {
  bool recording = true;
  std::uint64_t running_id = ~0ULL;    ///< the node whose rule is running
  const char* running_name = nullptr;  ///< the name of its operation
  Tensor* const* gathered = nullptr;   ///< its inputs' gradients so far, each may be null; null if recorded
};

struct ThreadState {
  RunMode mode;
  bool plain_rules = false;  ///< a .vjp is preferred to a .fast_vjp
  bool destroying = false;   ///< a caller of destroy(Node*) on this thread empties `dead`
  Node* dead = nullptr;      ///< nodes without an owner, to be freed by that caller
};
// Read by every operation: the initial-exec model avoids a call into the dynamic linker.
extern thread_local constinit ThreadState thread_state __attribute__((tls_model("initial-exec")));

/// The last number of the counter of graph nodes, plus 1; and the next number.
std::uint64_t current_id() noexcept;
std::uint64_t next_id() noexcept;

/// Gives a variable another value for the lifetime of this object.
template <class T>
class Scoped {
 public:
  Scoped(T& variable, T value) : variable_(variable), previous_(std::exchange(variable, value)) {}
  ~Scoped() { variable_ = previous_; }
  Scoped(const Scoped&) = delete;
  Scoped& operator=(const Scoped&) = delete;

 private:
  T& variable_;
  const T previous_;
};

}  // namespace retort::detail
