// The folder that results are written to.
#pragma once

#include <string>

namespace distill {

/// A folder that is made when it isn't there. Constructing it proves that files can be written to it: better now than
/// after the training. IoError otherwise.
class OutputFolder {
 public:
  explicit OutputFolder(std::string path);
  /// Writes a file as a whole or not at all, and returns its path.
  std::string write(const std::string& name, const std::string& text) const;

 private:
  std::string path_;
};

}  // namespace distill
