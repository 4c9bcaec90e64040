#include "retort/framework/train/json_lines.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <system_error>

#include "retort/framework/base/counted.hpp"
#include "retort/framework/base/error.hpp"

namespace retort {
namespace {

/// Bytes that are not UTF-8, as in file names, are replaced.
std::string json_text(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

JsonValue::JsonValue(double number) : text_(json_text(number)) {}
JsonValue::JsonValue(std::int64_t number) : text_(json_text(number)) {}
JsonValue::JsonValue(std::uint64_t number) : text_(json_text(number)) {}
JsonValue::JsonValue(std::string_view text) : text_(json_text(text)) {}

JsonLines::JsonLines(std::string path, std::int64_t size) : path_(std::move(path)), size_(size) {
  // Without O_NONBLOCK, opening a pipe would wait for a reader; the flag has no effect on regular files.
  const int create = size_ == 0 ? O_CREAT : 0;  // a log that is missing cannot be resumed
  descriptor_ = ::open(path_.c_str(), O_WRONLY | create | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
  if (descriptor_ < 0) fail("cannot be opened", errno);
  try {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail("cannot be examined", errno);
    if (!S_ISREG(status.st_mode))
      throw IoError(message("JsonLines: {}: is not a regular file", path_), path_);
    if (size_ < 0 || status.st_size < size_)
      throw IoError(message("JsonLines: {}: has {}, fewer than the {} to be kept; it is not the log of "
                            "this run: restore it, or start the run again",
                            path_, detail::counted(std::int64_t{status.st_size}, "byte"), size_),
                    path_);
    if (::ftruncate(descriptor_, size_) != 0) fail("cannot be cut back", errno);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

JsonLines::~JsonLines() { ::close(descriptor_); }

void JsonLines::write(const JsonFields& fields) {
  std::string line;
  for (const auto& [key, value] : fields)
    line += (line.empty() ? '{' : ',') + json_text(key) + ':' + value.text();
  line += fields.empty() ? "{}\n" : "}\n";
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
  throw IoError(message("JsonLines: {}: {}: {}", path_, what, std::generic_category().message(error)), path_,
                error);
}

}  // namespace retort
