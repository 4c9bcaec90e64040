#include "retort/framework/core/grad_mode.hpp"

#include "retort/framework/base/thread_state.hpp"

namespace retort {

bool is_grad_enabled() noexcept { return detail::thread_state.mode.recording; }

GradMode::GradMode(bool enabled) : previous_(std::exchange(detail::thread_state.mode.recording, enabled)) {}
GradMode::~GradMode() { detail::thread_state.mode.recording = previous_; }

}  // namespace retort
