#include "json_lines.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <retort/framework/base/error.hpp>
#include <string_view>
#include <system_error>
#include <utility>

namespace distill {

JsonLines::JsonLines(std::string path, std::int64_t size) : path_(std::move(path)), size_(size) {
  // Without O_NONBLOCK opening a pipe would wait for a reader; on regular files the flag does nothing.
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
  if (descriptor_ < 0) fail("cannot be opened", errno);
  try {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail("cannot be looked at", errno);
    if (!S_ISREG(status.st_mode))
      throw retort::IoError(retort::message("--out: {}: is not a regular file", path_), path_);
    if (status.st_size < size_)
      throw retort::IoError(retort::message("--resume: {} has {} bytes, but had {} at the checkpoint", path_,
                                            std::int64_t{status.st_size}, size_),
                            path_);
    if (::ftruncate(descriptor_, size_) != 0) fail("cannot be cut back", errno);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

JsonLines::~JsonLines() { ::close(descriptor_); }

void JsonLines::write(const nlohmann::ordered_json& object) {
  const std::string line = object.dump() + '\n';
  for (std::string_view rest = line; !rest.empty();) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("cannot be written", errno);
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  size_ += static_cast<std::int64_t>(line.size());
}

std::int64_t JsonLines::flush() {
  while (::fsync(descriptor_) != 0)
    if (errno != EINTR) fail("cannot be flushed to the disk", errno);
  return size_;
}

void JsonLines::fail(const char* what, int error) const {
  throw retort::IoError(
      retort::message("--out: {}: {}: {}", path_, what, std::generic_category().message(error)), path_,
      error);
}

double number_in(const nlohmann::ordered_json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? std::numeric_limits<double>::quiet_NaN()
                                                   : found->get<double>();
}

}  // namespace distill
