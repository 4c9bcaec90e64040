// The file that a run ends with.
#pragma once

#include <string>

namespace distill {

/// A file in a folder, which is made when it isn't there. Constructing it proves that the file can be written: better
/// now than after the training. IoError otherwise.
class OutputFile {
 public:
  OutputFile(const std::string& folder, const std::string& name);
  const std::string& path() const { return path_; }
  /// Writes it as a whole or not at all.
  void write(const std::string& text) const;

 private:
  std::string path_;
};

}  // namespace distill
