// Files that are there as a whole or not at all.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Writes a file through a temporary one in the same folder, which commit() puts into place: whatever
/// happens, and also after a power failure, the path holds the old content or the new, never a part. Without
/// commit() nothing has changed and the temporary file is removed. A file that is replaced keeps its
/// permissions and, where the system allows it, its owner and group. Throws: IoError "operation: file: cause"
/// for every failure.
class AtomicFile {
 public:
  /// A symbolic link stays one: its target is replaced, or made where it does not exist yet. Anything else
  /// than a regular file (a folder, device, pipe or socket) is refused.
  AtomicFile(std::string_view operation, const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends to the temporary file.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  /// Flushes to the disk, renames over the path, and flushes the folder. To be called once, at the end.
  void commit();

  /// Removes temporary files left by killed processes. Files of live processes are kept. Do not call this
  /// while the process is writing to the folder.
  static void remove_stale(std::string_view operation, const std::string& folder);

 private:
  void follow_links();
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
