#include "retort/framework/io/atomic_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "retort/framework/io/input_impl.hpp"

namespace retort {
namespace {

std::string resolved(const std::string& path) {
  char* const real = ::realpath(path.c_str(), nullptr);
  if (!real) return path;  // no such file yet
  std::string result = real;
  std::free(real);
  return result;
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "./" : path.substr(0, slash + 1);
}

int flush(int descriptor) {
  int result = 0;
  do {
    result = ::fsync(descriptor);
  } while (result != 0 && errno == EINTR);
  return result;
}

}  // namespace

AtomicFile::AtomicFile(std::string_view operation, const std::string& path)
    : operation_(operation), name_(path), path_(resolved(path)) {
  static std::atomic<unsigned> serial{0};
  // A killed process of the same number may have left such a file: take the next name then. The name is short
  // and does not contain the path's, which may be as long as a name can be.
  for (int attempt = 0; attempt < 1000 && descriptor_ < 0; ++attempt) {
    temporary_ =
        folder_of(path_) + ".retort-" + std::to_string(::getpid()) + "-" + std::to_string(serial++) + ".tmp";
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST) break;
  }
  if (descriptor_ < 0) fail("cannot create a file in that folder", errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), std::min<std::size_t>(bytes.size(), 1U << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("cannot write", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFile::commit() {
  if (flush(descriptor_) != 0) fail("cannot write to the disk", errno);
  const int descriptor = descriptor_;
  descriptor_ = -1;  // a close that fails has closed all the same
  if (::close(descriptor) != 0 && errno != EINTR) fail("cannot write", errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot put the file into place", errno);
  temporary_.clear();

  const int folder = ::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) fail("is written, but its folder cannot be opened", errno);
  const int flushed = flush(folder);
  const int error = errno;
  ::close(folder);
  // Some file systems know no fsync for folders.
  if (flushed != 0 && error != EINVAL && error != ENOTSUP)
    fail("is written, but its folder cannot be flushed to the disk", error);
}

void AtomicFile::fail(std::string_view cause, int error) const {
  throw IoError(message(operation_, ": ", name_, ": ", cause, ": ", detail::system_message(error)));
}

}  // namespace retort
