// Files that are there as a whole or not at all.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace retort {

/// Writes a file through a temporary one in the same folder. commit() puts it into place: whatever happens,
/// and also after a power failure, the path holds the old content or the new, never a part. Without commit()
/// nothing has changed and the temporary file is gone. Every error is an IoError "operation: file: cause".
class AtomicFile {
 public:
  /// A path that is a symbolic link keeps being one: what it points at is replaced.
  AtomicFile(std::string_view operation, const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  /// Flushes to the disk, renames over the path, and flushes the folder. To be called once, at the end.
  void commit();

  /// Removes from the folder what killed processes left half written; not what another process that lives is writing,
  /// but this process must not be writing there.
  static void remove_stale(std::string_view operation, const std::string& folder);

 private:
  [[noreturn]] void fail(std::string_view cause, int error) const;

  std::string operation_;
  std::string name_;       // as the caller gave it
  std::string path_;       // with links resolved
  std::string temporary_;  // empty once it has been renamed
  int descriptor_ = -1;
};

namespace detail {
/// Flushes a folder's list of names to the disk. 0, or what errno would be.
int flush_folder(const std::string& folder);
}  // namespace detail

}  // namespace retort
