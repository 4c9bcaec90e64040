// The file that a run ends with.
#pragma once

#include <string>

namespace distill {

/// Holds a run folder, which is made when it isn't there, for one run at a time. The lock is released when
/// the object dies, and by the system when the process is killed.
class FolderLock {
 public:
  /// Throws: IoError if the folder cannot be made or another run holds it. With `must_exist` a folder that
  /// does not exist is not made, and not locked.
  FolderLock(const std::string& folder, bool must_exist);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

/// A file in a folder, which is made when it isn't there. Constructing it proves that the file can be
/// written: better now than after the training. IoError otherwise.
class OutputFile {
 public:
  /// `flag` is the one that named it, for errors.
  OutputFile(const std::string& folder, const std::string& name, std::string flag = "--out");
  const std::string& path() const { return path_; }
  /// Writes it as a whole or not at all.
  void write(const std::string& text) const;

 private:
  std::string flag_;
  std::string path_;
};

}  // namespace distill
