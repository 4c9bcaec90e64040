// Lets a run finish its step on Ctrl-C or SIGTERM.
#pragma once

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

class Communicator;

/// During its lifetime, the first Ctrl-C (SIGINT) or SIGTERM, which launchers and batch systems send, only
/// makes interrupted() true. The second signal of the same kind ends the process immediately. A process that
/// ignored a signal (nohup) continues to ignore it.
/// Throws: Error if there is one already.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

/// True if SIGINT or SIGTERM has arrived since the last InterruptGuard was constructed. Check it after each
/// step; if true, save a checkpoint, print how to resume, and exit with status 130, as shells expect. Costs
/// one read.
bool interrupted() noexcept;

/// True on every rank if interrupted() is true on any of them. All ranks must call it after the same step,
/// and so stop together. Costs one small exchange.
bool interrupted(const Communicator& world);

}  // namespace retort
