// Files that a run appends to, and how numbers stand in them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace distill {

/// One JSON object a line. A line is in the file when write() returns, for whoever looks on.
class JsonLines {
 public:
  /// Opens or makes the file and cuts it back to its first `size` bytes. IoError when it cannot be written or is
  /// shorter.
  JsonLines(std::string path, std::int64_t size);
  ~JsonLines();
  JsonLines(const JsonLines&) = delete;
  JsonLines& operator=(const JsonLines&) = delete;

  void write(const nlohmann::ordered_json& object);
  /// Has all of it on the disk, and returns how many bytes that are.
  std::int64_t flush();

 private:
  [[noreturn]] void fail(const char* what, int error) const;

  std::string path_;
  std::int64_t size_;
  int descriptor_ = -1;
};

/// The number at a key; NaN where it is null, as JSON has neither NaN nor infinity, or is not there.
double number_in(const nlohmann::ordered_json& object, const char* key);

}  // namespace distill
