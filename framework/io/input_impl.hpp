// Byte sources of file readers: a file, or memory (tests, fuzzing, embedded data). Internal.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "retort/framework/base/array.hpp"
#include "retort/framework/base/error.hpp"
#include "retort/framework/base/shape.hpp"

namespace retort::detail {

static_assert(std::endian::native == std::endian::little, "files are read as little-endian values");

/// Bytes that can be read at any position. Files are never mapped, so a file that shrinks gives an IoError
/// instead of a signal.
class Input {
 public:
  /// Opens a regular file; `operation` is the start of every error message.
  /// Throws: IoError if it cannot be opened.
  Input(std::string_view operation, const std::string& path);
  /// Reads from memory that outlives this object; errors use `name` as the path.
  Input(std::string_view operation, std::string_view name, std::span<const std::byte> bytes);
  ~Input();
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  const std::string& operation() const { return operation_; }
  std::uint64_t size() const { return size_; }
  /// Copies bytes [offset, offset + count) to `to`.
  /// Throws: IoError if they do not exist.
  void read(std::uint64_t offset, void* to, std::size_t count) const;

  /// Throws IoError "operation: file: …".
  template <class... Args>
  [[noreturn]] void fail(Format<std::type_identity_t<Args>...> format, const Args&... args) const {
    throw IoError(message("{}: {}: {}", operation_, name_, formatted(format.text, args...)), name_);
  }

 private:
  [[noreturn]] void fail_call(std::string_view cause, int error) const;

  std::string operation_;
  std::string name_;
  std::span<const std::byte> bytes_;
  std::uint64_t size_ = 0;
  int descriptor_ = -1;
};

/// The product of the extents and the size of one element; empty if it does not fit into 63 bits, or if one
/// extent is 0 and the product of the others does not fit.
std::optional<std::uint64_t> byte_count(const Shape& shape, std::size_t element_size);

/// Allocates an array of the size stated by the file; `what` names it in errors ("" for the whole file). A
/// sparse file can have any length.
/// Throws: IoError if there is not enough memory.
Array allocate(const Input& input, std::string_view what, const Shape& shape, DType dtype);

/// A name from a file for use in messages: quoted, with control characters replaced, shortened.
std::string shown_name(std::string_view name);

/// The content of a small text file; empty if it cannot be opened.
std::optional<std::string> text_of(const std::string& path);

/// The text for a value of errno.
std::string system_message(int error);

/// Throws IoError "operation: path: cause: text of the error" with path and error.
[[noreturn]] void throw_io_error(std::string_view operation, const std::string& path, std::string_view cause,
                                 int error);

/// open(2) with O_CLOEXEC. The result is never 0, 1 or 2: if the program has closed a standard stream, its
/// output must not go into a file. Returns -1 and sets errno on failure.
int open_above_standard(const char* path, int flags, unsigned mode = 0);

}  // namespace retort::detail
