// Recording of operations, on or off.
#pragma once

#include <type_traits>
#include <utility>

#include "retort/framework/core/tensor.hpp"

namespace [[RETORT_EXPORT]] retort {

/// True if operations on this thread are recorded.
bool is_grad_enabled() noexcept;

/// Turns recording on or off on this thread for its lifetime.
class GradMode {
 public:
  explicit GradMode(bool enabled);
  ~GradMode();
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  const bool previous_;
};

/// Turns recording off on this thread for its lifetime.
struct NoGradGuard : GradMode {
  NoGradGuard() : GradMode(false) {}
};

/// Calls f with recording off and returns its result, which is detached if it is a Tensor.
template <class F>
decltype(auto) no_grad(F&& f) {
  const NoGradGuard guard;
  if constexpr (std::is_same_v<std::remove_cvref_t<decltype(std::forward<F>(f)())>, Tensor>) {
    Tensor result = std::forward<F>(f)();
    return result.is_leaf() ? result : result.detach();
  } else {
    return std::forward<F>(f)();
  }
}

}  // namespace retort
