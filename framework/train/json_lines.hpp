// Log files of JSON objects, one per line, truncated when a run is resumed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/framework/base/export.hpp"

namespace [[RETORT_EXPORT]] retort {

/// A number, text or boolean as JSON. NaN and infinities become null, since JSON cannot represent them.
class JsonValue {
 public:
  JsonValue(double number);                                                  // NOLINT: implicit by design
  JsonValue(float number) : JsonValue(static_cast<double>(number)) {}        // NOLINT: implicit by design
  JsonValue(std::int64_t number);                                            // NOLINT: implicit by design
  JsonValue(int number) : JsonValue(static_cast<std::int64_t>(number)) {}    // NOLINT: implicit by design
  JsonValue(std::uint64_t number);                                           // NOLINT: implicit by design
  JsonValue(bool value) : text_(value ? "true" : "false") {}                 // NOLINT: implicit by design
  JsonValue(std::string_view text);                                          // NOLINT: implicit by design
  JsonValue(const char* text) : JsonValue(std::string_view(text)) {}         // NOLINT: implicit by design
  JsonValue(const std::string& text) : JsonValue(std::string_view(text)) {}  // NOLINT: implicit by design

  /// The value as JSON text.
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

/// Keys and values of a JSON object, in the order of writing.
using JsonFields = std::vector<std::pair<std::string, JsonValue>>;

/// A file of JSON objects, one per line, such as a log of losses:
///
///     rt::JsonLines log("runs/mine/metrics.jsonl");
///     log.write({{"step", step}, {"loss", loss}});
///
/// A line is in the file when write() returns, so that other processes can follow the log. For a resumable
/// run, store the result of flush() in the checkpoint and pass it to the constructor when resuming: lines
/// written after the checkpoint are removed, and the log equals that of an uninterrupted run.
class JsonLines {
 public:
  /// Opens or creates the file and truncates it to its first `size` bytes; 0 starts an empty log.
  /// Throws: IoError if the file cannot be written, is not a regular file or is shorter than `size`.
  explicit JsonLines(std::string path, std::int64_t size = 0);
  ~JsonLines();
  JsonLines(const JsonLines&) = delete;
  JsonLines& operator=(const JsonLines&) = delete;

  /// Appends one object.
  /// Throws: IoError if it cannot be written.
  void write(const JsonFields& fields);
  /// Flushes the file to the disk and returns its size in bytes.
  /// Throws: IoError on failure.
  std::int64_t flush();

 private:
  [[noreturn]] void fail(const char* what, int error) const;

  std::string path_;
  std::int64_t size_;
  int descriptor_ = -1;
};

}  // namespace retort
