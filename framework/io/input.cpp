#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <new>
#include <sstream>
#include <system_error>

#include "retort/framework/base/counted.hpp"

#include "retort/framework/io/input_impl.hpp"

namespace retort::detail {

Input::Input(std::string_view operation, const std::string& path) : operation_(operation), name_(path) {
  // Without O_NONBLOCK, opening a pipe would wait for a writer; the flag has no effect on regular files.
  const int descriptor = open_above_standard(path.c_str(), O_RDONLY | O_NONBLOCK);
  if (descriptor < 0) fail_call("cannot open", errno);
  struct stat status {};
  const int error = ::fstat(descriptor, &status) == 0 ? 0 : errno;
  if (error != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    if (error != 0) fail_call("cannot open", error);
    fail("{}", S_ISDIR(status.st_mode) ? "is a folder, not a file" : "is not a regular file");
  }
  descriptor_ = descriptor;
  size_ = static_cast<std::uint64_t>(status.st_size);
}

Input::Input(std::string_view operation, std::string_view name, std::span<const std::byte> bytes)
    : operation_(operation), name_(name), bytes_(bytes), size_(bytes.size()) {}

Input::~Input() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void Input::read(std::uint64_t offset, void* to, std::size_t count) const {
  if (offset > size_ || count > size_ - offset)
    fail("truncated: a part of {} is needed at byte {}, but the file has {}", counted(count, "byte"), offset,
         size_);
  if (descriptor_ < 0) {
    if (count > 0) std::memcpy(to, bytes_.data() + offset, count);
    return;
  }
  auto* out = static_cast<std::byte*>(to);
  while (count > 0) {
    const ssize_t got =
        ::pread(descriptor_, out, std::min<std::size_t>(count, 1U << 30), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_call("cannot read", errno);
    if (got == 0) fail("became shorter while it was read");
    out += got;
    offset += static_cast<std::uint64_t>(got);
    count -= static_cast<std::size_t>(got);
  }
}

void Input::fail_call(std::string_view cause, int error) const {
  throw_io_error(operation_, name_, cause, error);
}

std::optional<std::uint64_t> byte_count(const Shape& shape, std::size_t element_size) {
  std::int64_t extents = static_cast<std::int64_t>(element_size);
  bool empty = false;
  for (const std::int64_t extent : shape) {
    if (extent == 0) {
      empty = true;
    } else if (extent < 0 || __builtin_mul_overflow(extents, extent, &extents)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : static_cast<std::uint64_t>(extents);
}

Array allocate(const Input& input, std::string_view what, const Shape& shape, DType dtype) {
  try {
    return Array(shape, dtype);
  } catch (const std::bad_alloc&) {
  } catch (const ShapeError&) {  // too many elements to attempt an allocation
  }
  input.fail("{}{}has shape {}, which as {} takes more memory than there is", what, what.empty() ? "" : " ",
             shape, dtype);
}

std::string shown_name(std::string_view name) {
  constexpr std::size_t most = 80;
  std::string text = "'";
  std::size_t shown = std::min(name.size(), most);
  // Never cuts a UTF-8 sequence: continuation bytes are 10xxxxxx.
  if (shown < name.size())
    while (shown > 0 && (static_cast<unsigned char>(name[shown]) & 0xC0U) == 0x80U) --shown;
  for (const char c : name.substr(0, shown))
    text += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  text += shown < name.size() ? "…'" : "'";
  return text;
}

std::optional<std::string> text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string system_message(int error) { return std::system_category().message(error); }

void throw_io_error(std::string_view operation, const std::string& path, std::string_view cause, int error) {
  throw IoError(message("{}: {}: {}: {}", operation, path, cause, system_message(error)), path, error);
}

int open_above_standard(const char* path, int flags, unsigned mode) {
  const int descriptor = ::open(path, flags | O_CLOEXEC, mode);
  if (descriptor < 0 || descriptor > STDERR_FILENO) return descriptor;
  const int moved = ::fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  const int error = errno;
  ::close(descriptor);
  errno = error;
  return moved;
}

}  // namespace retort::detail
