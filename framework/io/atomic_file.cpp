#include "retort/framework/io/atomic_file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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
    : operation_(operation), name_(path), path_(path) {
  follow_links();
  struct stat old {};
  const bool replaces = ::stat(path_.c_str(), &old) == 0;
  if (path_.empty() || (!replaces && errno != ENOENT))
    fail("cannot be written", path_.empty() ? ENOENT : errno);
  if (replaces && S_ISDIR(old.st_mode)) fail("cannot be written", EISDIR);
  if (replaces && !S_ISREG(old.st_mode))
    throw IoError(message("{}: {}: is not a regular file", operation_, name_), name_);

  static std::atomic<unsigned> serial{0};
  // A killed process with the same id may have left such a file; the next name is then used. The name is
  // short and does not contain the path's, which may have the maximum length.
  for (int attempt = 0; attempt < 1000 && descriptor_ < 0; ++attempt) {
    temporary_ = message("{}{}{}-{}{}", folder_of(path_), temporary_prefix,
                         static_cast<std::int64_t>(::getpid()), std::size_t{serial++}, temporary_suffix);
    descriptor_ = detail::open_above_standard(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL,
                                              replaces ? S_IRUSR | S_IWUSR : 0666);
    if (descriptor_ < 0 && errno != EEXIST) break;
  }
  if (descriptor_ < 0) {
    const int error = errno;
    temporary_.clear();
    fail("cannot create a file in that folder", error);
  }
  if (!replaces) return;
  // The new file inherits the permissions of the old one and, where allowed, owner and group. Programs with
  // set-user-id must not end up running as another user.
  const bool kept = ::fchown(descriptor_, old.st_uid, old.st_gid) == 0;
  if (!kept && ::fchown(descriptor_, static_cast<uid_t>(-1), old.st_gid) != 0) errno = 0;
  if (::fchmod(descriptor_, old.st_mode & (kept ? 07777U : 0777U)) != 0) errno = 0;
}

// The last link may point to a file that does not exist yet, which realpath(3) rejects.
void AtomicFile::follow_links() {
  std::array<char, PATH_MAX> target;
  for (int links = 0; links < 40; ++links) {
    const ssize_t size = ::readlink(path_.c_str(), target.data(), target.size());
    if (size < 0) return;  // not a link, or does not exist
    // Links below /proc represent open descriptors: replacing the file would detach it from its writers.
    std::array<char, PATH_MAX> folder;
    if (::realpath(folder_of(path_).c_str(), folder.data()) &&
        std::string_view(folder.data()).starts_with("/proc/"))
      throw IoError(message("{}: {}: is an open descriptor, not a regular file", operation_, name_), name_);
    const std::string_view to(target.data(), static_cast<std::size_t>(size));
    path_ = to.starts_with('/') ? std::string(to) : folder_of(path_).append(to);
  }
  fail("cannot be written", ELOOP);
}

void AtomicFile::write_whole(std::string_view operation, const std::string& path, std::string_view text) {
  AtomicFile file(operation, path);
  file.write(text);
  file.commit();
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
  descriptor_ = -1;  // a failed close closes the descriptor anyway
  if (::close(descriptor) != 0 && errno != EINTR) fail("cannot write", errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot put the file into place", errno);
  temporary_.clear();

  if (const int error = detail::flush_folder(folder_of(path_)))
    fail("is written, but its folder cannot be flushed to the disk", error);
}

void AtomicFile::fail(std::string_view cause, int error) const {
  detail::throw_io_error(operation_, name_, cause, error);
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
    // A file with our own process id is from an earlier process: containers reuse the same ids.
    const bool alive = process > 0 && process != ::getpid() && (::kill(process, 0) == 0 || errno == EPERM);
    if (!alive && ::unlinkat(::dirfd(entries), entry->d_name, 0) != 0 && errno != ENOENT) error = errno;
  }
  if (entries) ::closedir(entries);
  if (error != 0) detail::throw_io_error(operation, folder, "cannot remove a stale temporary file", error);
}

int detail::flush_folder(const std::string& folder) {
  const int descriptor = open_above_standard(folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (descriptor < 0) return errno;
  const int error = flush(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // Some file systems do not support fsync for folders.
  return error == EINVAL || error == ENOTSUP ? 0 : error;
}

}  // namespace retort
