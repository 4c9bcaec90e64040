// Wrappers of system calls: definitions in a program take precedence over those of the C library.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>

#include "files.hpp"

namespace {

using retort::tests::SystemCall;

struct Faults {
  bool armed = false;
  SystemCall call = SystemCall::write;
  int remaining = 0;
  int error = 0;
  bool lasts = false;
  bool happened = false;
  std::size_t most = 0;  // 0: no interruptions
  bool interrupt = false;
};
thread_local Faults faults;

// Returns true, with errno set, if this call must fail.
bool fails(SystemCall call) {
  if (!faults.armed || faults.call != call || (faults.happened && !faults.lasts)) return false;
  if (!faults.happened && faults.remaining-- != 0) return false;
  faults.happened = true;
  errno = faults.error;
  return true;
}

// Returns true if this transfer must be interrupted; otherwise may reduce `count`.
bool interrupted(std::size_t& count) {
  if (faults.most == 0) return false;
  faults.interrupt = !faults.interrupt;
  errno = EINTR;
  count = std::min(count, faults.most);
  return faults.interrupt;
}

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* bytes, size_t count) {
  if (fails(SystemCall::write) || interrupted(count)) return -1;
  return ::syscall(SYS_write, descriptor, bytes, count);
}

ssize_t pread(int descriptor, void* bytes, size_t count, off_t offset) {
  if (fails(SystemCall::pread) || interrupted(count)) return -1;
  return ::syscall(SYS_pread64, descriptor, bytes, count, offset);
}

int open(const char* path, int flags, ...) {
  if (fails(SystemCall::open)) return -1;
  std::va_list rest;
  va_start(rest, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

// A failed close() has closed the descriptor nevertheless.
int close(int descriptor) {
  const auto result = static_cast<int>(::syscall(SYS_close, descriptor));
  return fails(SystemCall::close) ? -1 : result;
}

int ftruncate(int descriptor, off_t size) noexcept {
  if (fails(SystemCall::ftruncate)) return -1;
  return static_cast<int>(::syscall(SYS_ftruncate, descriptor, size));
}

// No test cuts the power, and waiting for the disk would take most of the time.
int fsync(int descriptor) {
  if (fails(SystemCall::fsync)) return -1;
  return ::fcntl(descriptor, F_GETFD) < 0 ? -1 : 0;
}

int rename(const char* from, const char* to) noexcept {
  if (fails(SystemCall::rename)) return -1;
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

}  // extern "C"

namespace retort::tests {

FailingCall::FailingCall(SystemCall call, int nth, int error, bool lasts) {
  faults.armed = true;
  faults.call = call;
  faults.remaining = nth;
  faults.error = error;
  faults.lasts = lasts;
  faults.happened = false;
}
FailingCall::~FailingCall() { faults.armed = false; }
bool FailingCall::happened() const { return faults.happened; }

Interruptions::Interruptions(std::size_t most) {
  faults.most = most;
  faults.interrupt = false;
}
Interruptions::~Interruptions() { faults.most = 0; }

}  // namespace retort::tests
