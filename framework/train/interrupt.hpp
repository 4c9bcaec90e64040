// Ctrl-C that lets a run finish its step.
#pragma once

namespace retort {

/// While it lives, the first Ctrl-C (SIGINT) only makes interrupted() true; the second ends the process at once,
/// as ever. A process that ignored the signal (nohup) goes on ignoring it. One at a time: Error for a second.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

/// Whether Ctrl-C came since the last InterruptGuard was made. To be asked after each step: then write a checkpoint, say
/// how to resume, and exit with 130, as shells expect. Costs a read.
bool interrupted() noexcept;

}  // namespace retort
