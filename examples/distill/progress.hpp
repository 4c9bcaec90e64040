// What a run says while it goes on.
#pragma once

#include <cstdint>
#include <string>

namespace distill {

/// Writes lines to stderr. On a terminal the epochs of one network share a line.
class Progress {
 public:
  explicit Progress(bool quiet);

  /// After each epoch of the network `name`: how far it is, and the mean loss in that epoch.
  void epoch(const std::string& name, std::int64_t epoch, std::int64_t epochs, double loss);
  void say(const std::string& line);

 private:
  bool quiet_;
  bool terminal_;
};

}  // namespace distill
