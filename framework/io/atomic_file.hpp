// Files that are written completely or not at all.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

/// Writes a file through a temporary one in the same folder, which commit() renames. Even after a power
/// failure, the path has either the complete old or the complete new content. Without commit() nothing
/// changes, and the temporary file is removed. A replaced file keeps its permissions and, where the system
/// allows it, its owner and group.
/// Throws: IoError "operation: file: cause" on every failure.
class AtomicFile {
 public:
  /// A symbolic link is kept: its target is replaced, or created if it does not exist. Anything other than a
  /// regular file (a folder, device, pipe or socket) is rejected.
  AtomicFile(std::string_view operation, const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends to the temporary file.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  /// Flushes to the disk, renames over the path, and flushes the folder. Call it once, at the end.
  void commit();
  /// Writes a whole file: the constructor, write() and commit().
  static void write_whole(std::string_view operation, const std::string& path, std::string_view text);

  /// Removes temporary files left by killed processes. Files of live processes are kept. Do not call it while
  /// this process is writing to the folder.
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
/// Flushes a folder's directory entries to the disk. Returns 0 or an errno value.
int flush_folder(const std::string& folder);
}  // namespace detail

}  // namespace retort
