// The lock of a run folder, and the file that a run writes at its end.
#pragma once

#include <string>

namespace distill {

/// Locks a run folder, so that one run at a time uses it. The destructor releases the lock; if the process is
/// killed, the system does.
class FolderLock {
 public:
  /// Creates a missing folder; with `must_exist`, a missing folder is neither created nor locked.
  /// Throws: IoError if the folder cannot be created or opened, or if another run has locked it.
  FolderLock(const std::string& folder, bool must_exist);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

/// A file in a folder. The constructor creates a missing folder and checks that the file can be written, to
/// report a failure before the training.
/// Throws: IoError if it cannot be written.
class OutputFile {
 public:
  /// `flag` is the command-line flag that names the file in error messages.
  OutputFile(const std::string& folder, const std::string& name, std::string flag = "--out");
  const std::string& path() const { return path_; }
  /// Writes the whole file or, on failure, nothing.
  void write(const std::string& text) const;

 private:
  std::string flag_;
  std::string path_;
};

}  // namespace distill
