// The file that a run ends with.
#pragma once

#include <string>

namespace distill {

/// A file in a folder, which is made when it isn't there. Constructing it proves that the file can be written: better
/// now than after the training. IoError otherwise.
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
