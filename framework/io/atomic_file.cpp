#include "retort/framework/io/atomic_file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "retort/framework/io/input_impl.hpp"

namespace retort {
namespace {

constexpr std::string_view temporary_prefix = ".retort-";
constexpr std::string_view temporary_suffix = ".tmp";

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
    temporary_ = message("{}{}{}-{}{}", folder_of(path_), temporary_prefix,
                         static_cast<std::int64_t>(::getpid()), std::size_t{serial++}, temporary_suffix);
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

  if (const int error = detail::flush_folder(folder_of(path_)))
    fail("is written, but its folder cannot be flushed to the disk", error);
}

void AtomicFile::fail(std::string_view cause, int error) const {
  throw IoError(message("{}: {}: {}: {}", operation_, name_, cause, detail::system_message(error)));
}

void AtomicFile::remove_stale(std::string_view operation, const std::string& folder) {
  DIR* const entries = ::opendir(folder.c_str());
  int error = entries ? 0 : errno;
  while (const dirent* const entry = entries ? ::readdir(entries) : nullptr) {
    const std::string_view name = entry->d_name;
    if (!name.starts_with(temporary_prefix) || !name.ends_with(temporary_suffix)) continue;
    const std::string_view rest = name.substr(temporary_prefix.size());
    pid_t process = 0;
    std::from_chars(rest.data(), rest.data() + rest.size(), process);
    // A number that is our own was another's before: containers give the same one again and again.
    const bool alive = process > 0 && process != ::getpid() && (::kill(process, 0) == 0 || errno == EPERM);
    if (!alive && ::unlinkat(::dirfd(entries), entry->d_name, 0) != 0 && errno != ENOENT) error = errno;
  }
  if (entries) ::closedir(entries);
  if (error != 0)
    throw IoError(message("{}: {}: cannot remove a stale temporary file: {}", operation, folder,
                          detail::system_message(error)));
}

int detail::flush_folder(const std::string& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return errno;
  const int error = flush(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // Some file systems know no fsync for folders.
  return error == EINVAL || error == ENOTSUP ? 0 : error;
}

}  // namespace retort
