// System calls of the test program go through here: defined in a program, they stand before the C library's.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "files.hpp"

namespace {

using retort::tests::SystemCall;

struct Faults {
  bool armed = false;
  SystemCall call = SystemCall::write;
  int remaining = 0;
  int error = 0;
  bool happened = false;
  std::size_t most = 0;  // 0: no interruptions
  bool interrupt = false;
};
thread_local Faults faults;

// Whether this call is to fail; errno is set then.
bool fails(SystemCall call) {
  if (!faults.armed || faults.call != call || faults.remaining-- != 0) return false;
  faults.happened = true;
  errno = faults.error;
  return true;
}

// Whether this transfer is to be interrupted; else `count` is cut.
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

int fsync(int descriptor) {
  if (fails(SystemCall::fsync)) return -1;
  return static_cast<int>(::syscall(SYS_fsync, descriptor));
}

int rename(const char* from, const char* to) noexcept {
  if (fails(SystemCall::rename)) return -1;
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

}  // extern "C"

namespace retort::tests {

FailingCall::FailingCall(SystemCall call, int nth, int error) {
  faults.armed = true;
  faults.call = call;
  faults.remaining = nth;
  faults.error = error;
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
